"""The JSON API below /api/v1: the reports, as they are, over HTTP.

    request ─▶ parameters (refused: 422) ─▶ standing (unchanged: 304) ─▶ a report ─▶ rows, spooled as JSON ─▶ answer

Fields are called as the columns of the views. Every answer says as of when it is, up to when that was confirmed, and on
which head it rests. What goes wrong is a problem of RFC 9457.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Mount

if TYPE_CHECKING:
    from collector.web.app import Web

PATH = "/api/v1"


def routes(web: Web) -> list[BaseRoute]:
    """The API, its OpenAPI document, and a page that shows it."""
    from collector.web.api.application import make_api  # FastAPI takes half a second to import

    api = make_api(web.data, web.clock, web.polled, web.settings.required_anchors)
    mounted = Mount(PATH, app=api)
    # With line feeds, too: else a page says that there is nothing.
    mounted.path_regex = re.compile(mounted.path_regex.pattern, re.DOTALL)
    return [mounted]
