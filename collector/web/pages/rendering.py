"""Turns a page's facts into HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2
import sqlalchemy as sa
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from collector import __version__
from collector.inventory.spans import UNKNOWN
from collector.reports.days import CHANGING, Days
from collector.reports.polls import SEEN
from collector.reports.timeline.palette import EVERY, KNOWN, Look
from collector.reports.timeline.palette import looks as looks_of
from collector.reports.timeline.strip import Strip, swatch
from collector.reports.timeline.style import page_style, patterns
from collector.reports.words import (
    CAUSES,
    basis_in_words,
    brief,
    brief_window,
    certainty,
    counted,
    happening_in_words,
    in_order,
    printable,
    show_span,
    show_time,
)
from collector.web.pages.asking import Asked

if TYPE_CHECKING:
    from collector.web.app import Web


@dataclass(frozen=True)
class Shown:
    """A template and its values."""

    template: str
    facts: Mapping[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    states: frozenset[str] = frozenset()
    """Every state that is drawn."""


class Here:
    """The address of a page. Makes links that keep the time as of which pages are shown."""

    def __init__(self, asked: Asked) -> None:
        self.root, self.path, self.query = asked.root, asked.path, asked.query
        self.as_of = asked.as_of

    def link(self, *parts: Any, **query: Any) -> str:
        """Link to one of our pages: `link("regions", source, id, tab="x")`."""
        path = "/".join(quote(str(part), safe="") for part in parts)
        if self.as_of and "as_of" not in query:
            query["as_of"] = self.as_of
        return f"{self.root}/{path}{_query(query)}"

    def same(self, **changes: Any) -> str:
        """Link to this page with other values in its query; None removes one. Its list starts at the first row."""
        return (
            f"{self.root}{quote(self.path)}{_query({**self.query, 'page': None, 'after': None, **changes})}"
        )

    def go_on(self, **changes: Any) -> str:
        """Link to a later part of this page."""
        return f"{self.root}{quote(self.path)}{_query({**self.query, **changes})}"

    def is_at(self, *parts: str) -> bool:
        """True if this page is one of these, or below one of them."""
        return any(self.path == part or self.path.startswith(f"{part}/") for part in parts)


def _query(values: Mapping[str, Any]) -> str:
    text = urlencode({name: value for name, value in values.items() if value not in (None, "")})
    return f"?{text}" if text else ""


class Drawn:
    """Draws states for this page."""

    def __init__(self, looks: Mapping[str, Look]) -> None:
        self._looks = looks
        self._states: dict[str | None, Markup] = {}

    def swatch(self, state: str | None) -> Markup:
        """A sample of a state's pattern, beside its name."""
        return Markup(swatch(state or UNKNOWN, self._looks))  # noqa: S704 - our own SVG

    def changing(self) -> Markup:
        """A sample of the mark for the time of a change."""
        return Markup(swatch(CHANGING, self._looks))  # noqa: S704 - our own SVG

    def state(self, state: str | None) -> Markup:
        """A state: its sample and its name."""
        if state not in self._states:
            word = brief(state or "unknown", 40)
            self._states[state] = Markup('<span class="state">{}<span>{}</span></span>').format(
                self.swatch(state), word
            )
        return self._states[state]

    def strip(self, days: Days, label: str) -> Markup:
        """A strip of days, with a description in words."""
        made, name = Strip(days), escape(label)
        return Markup(  # noqa: S704 - escaped here, and our own SVG
            f'<div class="strip" role="img" aria-label="{name}, {escape(made.summary)}" data-label="{name}" '
            f'data-from="{days.begin:%Y-%m-%d}" data-count="{days.count}" data-days="{escape(made.attribute)}">'
            f"{made.svg(self._looks)}</div>"
        )


DAY = timedelta(days=1)
_TIME = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{6}Z")
Question = Callable[[sa.Connection, Asked], Shown | Response]


class Page:
    """A page as Starlette calls it: it queries the database and fills a template in a reader thread."""

    def __init__(self, web: Web, question: Question, *, even_if_stale: bool = False) -> None:
        self._web, self._question, self._even_if_stale = web, question, even_if_stale

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Asked.of(Request(scope, receive), self._web)

        def work(connection: sa.Connection) -> Response:
            shown = self._question(connection, asked)
            return shown if isinstance(shown, Response) else rendered(shown, asked)

        name = (asked.origin, asked.root, scope["path"], scope["query_string"])
        response = await self._web.data.ask(work, even_if_stale=self._even_if_stale, shared_by=name)
        await response(scope, receive, send)


def rendered(shown: Shown, asked: Asked) -> Response:
    """The HTML of a page."""
    template = environment().get_template(shown.template)
    looks = looks_of(shown.states)
    text = template.render(
        shown.facts,
        here=Here(asked),
        asked=asked,
        now=asked.now,
        moment=asked.moment,
        draw=Drawn(looks),
        drawn_states=list(looks),
        sightings=Drawn({SEEN: KNOWN["ACTIVE"]}),
        ago=lambda moment: ago(moment, asked.moment),
        ago_now=lambda moment: ago(moment, asked.now),
        day_earlier=_day(asked.moment - DAY) if asked.as_of else None,
        day_later=_day(asked.moment + DAY) if asked.as_of and asked.moment + DAY < asked.now else None,
        version=__version__,
    )
    return HTMLResponse(text, shown.status, dict(shown.headers))


@cache
def environment() -> jinja2.Environment:
    """Templates escape all values, and show no characters that could change the direction of a text."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("collector.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.globals |= {"patterns": Markup("".join(patterns(EVERY)))}  # noqa: S704 - our own SVG
    filters: dict[str, Callable[..., Any]] = {
        "brief": brief,
        "span": show_span,
        "time": show_time,
        "when": when,
        "lines": lines,
        "value": value,
        "certainty": certainty,
        "cause": lambda name: CAUSES.get(name, name),
        "words": lambda name: str(name).replace("_", " "),
        "number": lambda number: f"{number:,}",
        "counted": counted,
        "window": window,
        "basis": basis_in_words,
        "happening_words": happening_in_words,
        "options": options,
        "pairs": lambda values: [(each, each) for each in values],
        "path_only": lambda link: link.partition("?")[0],
        "at": at,
        "prose": prose,
        "cell": cell,
    }
    made.filters |= filters
    return made


@cache
def states_css() -> str:
    """The CSS of states, for every page."""
    return page_style(EVERY)


def _finalize(found: Any) -> Any:
    if found is None:
        return ""
    if isinstance(found, Markup):
        return found
    return printable(found) if isinstance(found, str) else found


def when(moment: datetime | None, form: str = "minute") -> Markup:
    """A time in UTC, to the minute. Hovering shows the exact time, and with JavaScript the local time too."""
    if moment is None:
        return Markup("")
    text = moment.astimezone(UTC)
    forms = {"minute": "%Y-%m-%d %H:%M", "second": "%Y-%m-%d %H:%M:%S", "clock": "%H:%M"}
    shown = text.strftime(forms[form])
    exact = text.isoformat().replace("+00:00", "Z")
    return Markup(f'<time datetime="{exact}" title="{show_time(moment)}">{shown}</time>')  # noqa: S704 - digits


def ago(moment: datetime | None, now: datetime) -> str:
    """`34 s ago`; `in 20 min`."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 10:
        return "just now"
    return f"{show_span(seconds)} ago" if seconds > 0 else f"in {show_span(-seconds)}"


def lines(text: str) -> Markup:
    """Text of several lines, which stay separate lines."""
    return Markup("\n").join(escape(printable(line.replace("\t", "    "))) for line in text.split("\n"))


def value(found: Any) -> str:
    """A field's value, for people."""
    if found is None:
        return "nothing"
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, datetime):
        return show_time(found)
    if isinstance(found, tuple | list):
        return ", ".join(map(str, found)) if found else "none"
    return found if isinstance(found, str) and found else json.dumps(found, default=str, ensure_ascii=False)


def window(row: Mapping[str, Any]) -> str:
    """The earliest and latest possible time of a transition or of a row of happenings."""
    return brief_window({"not_before": row["not_before"], "observed_at": row.get("observed_at") or row["at"]})


def cell(found: Any) -> str:
    """A value of an answer, unchanged; None is empty."""
    if found is None:
        return ""
    if isinstance(found, str) and _TIME.fullmatch(found):
        found = datetime.fromisoformat(found)  # SQLite has no time type
    if isinstance(found, datetime):
        return show_time(found if found.tzinfo else found.replace(tzinfo=UTC))
    return str(found)


def options(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """The possible values, each with its number of rows."""
    return [(name, f"{brief(name, 40)} ({counts[name]:,})") for name in sorted(counts, key=in_order) if name]


def at(link: str, path: str) -> str:
    """The same query at another address: `changes?x=y` at `changes.csv`."""
    before, mark, query = link.partition("?")
    return f"{before.rpartition('/')[0]}/{path}{mark}{query}"


def prose(text: str) -> Markup:
    """A paragraph of our documentation. Code and emphasis are kept; of links, only the text."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    found = str(escape(plain))
    found = re.sub(r"`([^`]*)`", r"<code>\1</code>", found)
    found = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", found)
    return Markup(found)  # noqa: S704 - escaped above


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").removesuffix("T00:00:00Z")
