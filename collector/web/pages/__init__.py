"""The pages: each is a function of a request that queries reports and names a template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from collector.web.pages import ask, changes, coverage, evidence, overview, region
from collector.web.pages.failing import handlers_of
from collector.web.pages.rendering import Page, states_css

if TYPE_CHECKING:
    from collector.web.app import Web

_STATIC = Path(__file__).parent.parent / "static"


def routes(web: Web) -> list[BaseRoute]:
    """All pages, and the files that they load."""
    return [
        Route("/", Page(web, overview.show)),
        Route("/regions/{source}/{region_id}", Page(web, region.show)),
        Route("/changes", Page(web, changes.show)),
        Route("/changes.csv", Page(web, changes.as_csv)),
        Route("/changes.atom", Page(web, changes.as_feed)),
        Route("/changes/{source}/{seq}/{entity}/{entity_id}", Page(web, region.why)),
        Route("/coverage", Page(web, coverage.show)),
        Route("/coverage/{source}/{seq}", Page(web, coverage.gap)),
        Route("/evidence", Page(web, evidence.index, even_if_stale=True)),
        Route("/evidence/{source}/{seq}", Page(web, evidence.show, even_if_stale=True)),
        Route("/evidence/{source}/{seq}/answer.json", Page(web, evidence.answer, even_if_stale=True)),
        Route("/ask", Page(web, ask.index)),
        Route("/ask/{slug}", Page(web, ask.show)),
        Route("/static/states.css", _states_css),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]


async def _states_css(_: Request) -> Response:
    return Response(states_css(), media_type="text/css")


def handlers(web: Web) -> Mapping[Any, Any]:
    """The pages for errors."""
    return handlers_of(web)
