"""The JSON API below /api/v1: the reports over HTTP.

    request ─▶ parameters (refused: 422) ─▶ standing (unchanged: 304) ─▶ a report ─▶ rows, spooled as JSON ─▶ answer

Fields have the names of the views' columns. Every answer gives its time, the time up to which it was confirmed, and
the head on which it depends. Errors are problems of RFC 9457.
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

    mounted = Mount(PATH, app=make_api(web))
    # The path may contain line feeds. Otherwise the answer would be a page.
    mounted.path_regex = re.compile(mounted.path_regex.pattern, re.DOTALL)
    return [mounted]
