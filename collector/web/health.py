"""Health for supervisors and people: is this process alive, and can what it serves be relied on?

/healthz does not use the database: this process polls or stands by as expected. If not, only a restart helps. /readyz
uses the database: it is available, has our schema, and is fresh enough. A restart does not help there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from collector.errors import CollectorError
from collector.reports.status import SourceStatus, are_too_many, statuses
from collector.reports.words import brief, show_span

if TYPE_CHECKING:
    from collector.service.view import View
    from collector.web.app import Web

_ILL = ("database", "refused")
"""Conditions in which polls of a source are not written, and no other replica is known to write them."""
MOST_REASONS = 20

Said = tuple[int, dict[str, Any]]
"""Status and content."""


def liveness(view: View | None) -> Said:
    """The scheduler's view: was any poll attempted recently, with any result?"""
    if view is None:
        return 200, {"status": "alive", "role": "web", "reasons": []}
    newest = min((each.seconds_since_attempt for each in view.sources), default=0.0)
    if newest > view.patience_seconds and not view.is_stopping:
        why = f"no poll was attempted for {show_span(newest)}"
        return 503, {"status": "stuck", "role": "collector", "reasons": [why]}
    return 200, {"status": "alive", "role": "collector", "reasons": []}


def readiness(found: Sequence[SourceStatus], view: View | None, most_bad: int | str) -> Said:
    """The database's view, and what this process can't write. `most_bad`: as for `collector status --max-bad`."""
    counted = [each for each in found if each.verdict != "left"]
    bad = {each.source: each.why for each in counted if each.verdict == "stale"}
    degraded = {each.source: each.why for each in counted if each.verdict == "degraded"}
    for each in view.sources if view else ():
        if each.condition in _ILL:
            bad.setdefault(each.name, f"polls can't be written ({each.condition})")
    names = {each.source for each in counted} | bad.keys()
    reasons = [f"{brief(name)}: {brief(why, 300)}" for name, why in sorted((degraded | bad).items())]
    if view and view.is_stopping:
        reasons.insert(0, "this process is stopping")
    if not names:
        reasons.insert(0, "nothing was ever polled")
    is_ready = bool(names) and not are_too_many(len(bad), len(names), most_bad)
    is_ready = is_ready and not (view and view.is_stopping)
    status = "unready" if not is_ready else "degraded" if reasons else "ready"
    more = len(reasons) - MOST_REASONS
    return 200 if is_ready else 503, {
        "status": status,
        "sources": len(names),
        "bad": len(bad),
        "reasons": reasons[:MOST_REASONS] + ([f"and {more} more"] if more > 0 else []),
    }


def routes(web: Web) -> list[BaseRoute]:
    """Both routes. The second one has its own thread, so that pages don't make it fail."""
    data = web.data.apart()

    async def healthz(_: Request) -> Response:
        return _answer(liveness(web.view()))

    async def readyz(_: Request) -> Response:
        def ask(connection: sa.Connection) -> Said:
            found = statuses(
                connection,
                web.clock(),
                of_settings=web.polled(),
                required_anchors=web.settings.required_anchors,
            )
            return readiness(found, web.view(), web.settings.http_ready_max_bad)

        try:
            return _answer(await data.ask(ask, shared_by="readyz"))
        except CollectorError as error:
            return _answer((503, {"status": "unready", "sources": 0, "bad": 0, "reasons": [str(error)]}))

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def _answer(said: Said) -> Response:
    status, content = said
    return JSONResponse(content, status, {"cache-control": "no-store"})
