"""The pages: each is a function of a request, which asks a report and fills a template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from collector.web.pages.failing import handlers_of
from collector.web.pages.overview import overview
from collector.web.pages.rendering import Page

if TYPE_CHECKING:
    from collector.web.app import Web

_STATIC = Path(__file__).parent.parent / "static"


def routes(web: Web) -> list[BaseRoute]:
    """All pages, and the files that they load."""
    return [
        Route("/", Page(web, overview)),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]


def handlers(web: Web) -> Mapping[Any, Any]:
    """What is shown where a page can't be."""
    return handlers_of(web)
