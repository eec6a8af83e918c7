"""From a page's facts to HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jinja2
import sqlalchemy as sa
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from collector.reports.words import brief, printable, show_span, show_time

if TYPE_CHECKING:
    from collector.web.app import Web


@dataclass(frozen=True)
class Asked:
    """What a page is asked: its query, and the time now."""

    query: Mapping[str, str]
    path: Mapping[str, Any]
    now: datetime


@dataclass(frozen=True)
class Shown:
    """A template and what it says."""

    template: str
    facts: Mapping[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Question = Callable[[sa.Connection, Asked], Shown]


class Page:
    """A page as Starlette calls it."""

    def __init__(self, web: Web, question: Question) -> None:
        self._web, self._question = web, question

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        response = await self.respond(request)
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        web = self._web
        asked = Asked(dict(request.query_params), request.path_params, web.clock())
        root = request.scope.get("root_path", "")

        def work(connection: sa.Connection) -> Response:
            shown = self._question(connection, asked)
            return rendered(shown, root, asked.now)

        return await web.data.ask(work)


def rendered(shown: Shown, root: str, now: datetime) -> Response:
    """The HTML of what a page says."""
    template = environment().get_template(shown.template)
    text = template.render(shown.facts, root=root, now=now)
    return HTMLResponse(text, shown.status, dict(shown.headers))


@cache
def environment() -> jinja2.Environment:
    """Templates escape all that they are given, and show nothing that could turn a text round."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("collector.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.filters |= {"brief": brief, "span": show_span, "time": show_time, "lines": lines, "query": urlencode}
    return made


def _finalize(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, Markup):
        return value
    return printable(value) if isinstance(value, str) else value


def lines(text: str) -> Markup:
    """Text of several lines, which stay lines."""
    return Markup("\n").join(escape(printable(line.replace("\t", "    "))) for line in text.split("\n"))
