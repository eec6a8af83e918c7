"""The questions that the API answers: each is a report with its parameters."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Path, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector import __version__
from collector.clock import time_text
from collector.errors import UsageError
from collector.reports.anchored import Proven, proven
from collector.reports.availability import availability
from collector.reports.changes import region_history
from collector.reports.cloudevents import cloud_event
from collector.reports.coverage import coverage
from collector.reports.cursors import Cursor
from collector.reports.events import events
from collector.reports.filters import Row
from collector.reports.inventory import RegionFilter, each_region_as_of, regions_as_of
from collector.reports.nested import NestedFilter, nested_as_of, referred_as_of
from collector.reports.notices import notices
from collector.reports.periods import time_zone
from collector.reports.recorded import check_state, unless_mistyped
from collector.reports.spans import ASSUMPTION, SpanFilter, spans
from collector.reports.standing import Standing
from collector.reports.status import statuses
from collector.reports.transitions import TransitionFilter, transitions
from collector.web.api import models, parameters
from collector.web.api.answers import Answers, Content
from collector.web.api.documents import describe
from collector.web.api.problems import HANDLERS, ConflictError

if TYPE_CHECKING:
    from collector.web.app import Web

RegionName = Annotated[
    str,
    Path(
        alias="region",
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00/]+$",
        description="Id, slug or display name",
    ),
]


def make_api(web: Web) -> ASGIApp:
    """The application, to be mounted somewhere."""
    api = FastAPI(
        title="Gcore collector",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(_once)],
    )
    api.router.route_class = _Exactly
    answers = Answers(web.data, web.clock)
    _inventory(api, answers)
    _history(api, answers)
    _watching(api, answers, web)
    _following(api, answers, web.settings.public_url)
    describe(api, web.clock)
    return _WithHead(api)


class _Exactly(APIRoute):
    """A question at exactly its path: `$` also matches before a line feed at the end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")


def _once(request: Request) -> None:
    """Refuse a parameter that is given twice, unless it may be."""
    names = [name for name, _ in request.query_params.multi_items()]
    twice = sorted({name for name in names if names.count(name) > 1} - {"region"})
    if "region" in names and names.count("region") > 1 and not request.url.path.endswith("/spans"):
        twice.append("region")
    if twice:
        raise RequestValidationError(
            [{"loc": ("query", name), "msg": "it is given more than once", "type": "twice"} for name in twice]
        )


def _inventory(api: FastAPI, answers: Answers) -> None:
    @api.get("/regions", response_model=models.answer("Regions", regions=models.rows(models.Region)))
    async def list_regions(request: Request, asked: Annotated[parameters.Regions, Query()]) -> Response:
        """The regions that exist, or existed at a time, by source and id."""
        wanted = RegionFilter(asked.source, asked.region, asked.state, asked.country, asked.zone, asked.gpu)

        def question(connection: sa.Connection, moment: datetime, _: Standing) -> Content:
            found = each_region_as_of(connection, moment, wanted)
            return {
                "regions": unless_mistyped(
                    connection, found, states=[asked.state], zone=asked.zone, country=asked.country
                )
            }

        return await answers.give(request, question, source=asked.source, as_of=asked.as_of)

    @api.get(
        "/regions/{region}",
        response_model=models.answer(
            "OneRegion",
            region=(models.Region, ...),
            keystone=models.or_none(models.Keystone, "the region refers to none that is known"),
            metrics_database=models.or_none(
                models.MetricsDatabase, "the region refers to none that is known"
            ),
        ),
    )
    async def get_region(
        request: Request, name: RegionName, asked: Annotated[parameters.AsOf, Query()]
    ) -> Response:
        """One region, with its keystone and its metrics database."""

        def question(connection: sa.Connection, moment: datetime, _: Standing) -> Content:
            found = regions_as_of(connection, moment, RegionFilter(asked.source, name))
            if not found:
                raise UsageError(f"there is no region {name!r} in force at {time_text(moment)}")
            if len(found) > 1:
                raise ConflictError(_which(name, found))
            row = found[0]

            return {
                "region": row,
                "keystone": referred_as_of(connection, "keystone", moment, row),
                "metrics_database": referred_as_of(connection, "metrics_database", moment, row),
            }

        return await answers.give(request, question, source=asked.source, as_of=asked.as_of)

    @api.get("/keystones", response_model=models.answer("Keystones", keystones=models.rows(models.Keystone)))
    async def list_keystones(request: Request, asked: Annotated[parameters.Keystones, Query()]) -> Response:
        """The keystones that exist, or existed at a time, by source and id."""
        wanted = NestedFilter(source=asked.source, region=asked.region, state=asked.state)

        def question(connection: sa.Connection, moment: datetime, _: Standing) -> Content:
            found = nested_as_of(connection, "keystone", moment, wanted)
            return {"keystones": unless_mistyped(connection, found, states=[asked.state], entity="keystone")}

        return await answers.give(request, question, source=asked.source, as_of=asked.as_of)

    @api.get(
        "/metrics-databases",
        response_model=models.answer(
            "MetricsDatabases", metrics_databases=models.rows(models.MetricsDatabase)
        ),
    )
    async def list_metrics_databases(
        request: Request, asked: Annotated[parameters.MetricsDatabases, Query()]
    ) -> Response:
        """The metrics databases that exist, or existed at a time, by source and id."""
        wanted = NestedFilter(source=asked.source, region=asked.region)

        def question(connection: sa.Connection, moment: datetime, _: Standing) -> Content:
            return {"metrics_databases": nested_as_of(connection, "metrics_database", moment, wanted)}

        return await answers.give(request, question, source=asked.source, as_of=asked.as_of)


def _which(region: str, found: list[Row]) -> str:
    """How to select one of several regions with this name."""
    names = sorted({str(row["source"]) for row in found})
    if len(names) == len(found):
        return f"several sources have a region {region!r}; add source with one of: {', '.join(names)}"
    ids = ", ".join(f"{row['region_id']} of {row['source']}" for row in found[:10])
    return f"several regions are called {region!r}; name one by its id: {ids}"


def _history(api: FastAPI, answers: Answers) -> None:
    @api.get(
        "/regions/{region}/history",
        response_model=models.answer("History", versions=models.rows(models.Version)),
    )
    async def get_history(
        request: Request, name: RegionName, asked: Annotated[parameters.Query, Query()]
    ) -> Response:
        """Everything that changed in a region, oldest first, with one row per field."""

        def question(connection: sa.Connection, _: datetime, __: Standing) -> Content:
            return {"versions": region_history(connection, name, asked.source)}

        return await answers.give(request, question, source=asked.source)

    @api.get(
        "/transitions",
        response_model=models.answer(
            "Transitions",
            transitions=models.rows(models.Transition),
            next=models.cursor("the next page; null: there is none", null=True),
        ),
    )
    async def list_transitions(
        request: Request, asked: Annotated[parameters.Transitions, Query()]
    ) -> Response:
        """Changes of state and presence, newest first, in pages."""
        wanted = TransitionFilter(
            source=asked.source,
            region=asked.region,
            entity=asked.entity,
            from_state=asked.from_state,
            to_state=asked.to_state,
            since=asked.since,
            until=asked.until,
            limit=asked.limit + 1,
            after=parameters.place_of(asked.after) if asked.after else None,
        )

        def question(connection: sa.Connection, _: datetime, __: Standing) -> Content:
            found = transitions(connection, wanted)
            words = [asked.from_state, asked.to_state]
            rows = list(unless_mistyped(connection, found, states=words, entity=asked.entity))
            page = rows[: asked.limit]
            return {"transitions": page, "next": _place(page[-1]) if len(rows) > asked.limit else None}

        return await answers.give(request, question, source=asked.source)

    @api.get(
        "/spans",
        response_model=models.answer("Spans", spans=models.rows(models.Span), assumed=models.ASSUMED),
    )
    async def list_spans(request: Request, asked: Annotated[parameters.Spans, Query()]) -> Response:
        """The known states of each region or keystone over time, by source, id and time."""
        wanted = SpanFilter(
            asked.entity, tuple(asked.region), asked.source, asked.since, asked.until, asked.without_absent
        )

        def question(connection: sa.Connection, _: datetime, __: Standing) -> Content:
            return {"spans": [] if asked.is_empty else spans(connection, wanted), "assumed": ASSUMPTION}

        return await answers.give(request, question, source=asked.source, moves=True)

    @api.get(
        "/availability",
        response_model=models.answer(
            "Availability", availability=models.rows(models.Share), assumed=models.ASSUMED
        ),
    )
    async def measure_availability(
        request: Request, asked: Annotated[parameters.Availability, Query()]
    ) -> Response:
        """The share of a time for which regions were in a state, at least and at most."""

        def question(connection: sa.Connection, now: datetime, _: Standing) -> Content:
            rows = availability(
                connection,
                now=now,
                state=asked.state,
                region=asked.region,
                source=asked.source,
                since=asked.since,
                until=asked.until,
                by=asked.by,
                zone=time_zone(asked.time_zone),
                without_absent=asked.without_absent,
            )
            if not any(row["seconds_at_least"] for row in rows):
                check_state(connection, asked.state.strip('"'), "region", or_absent=True)
            return {"availability": [] if asked.is_empty else rows, "assumed": ASSUMPTION}

        return await answers.give(request, question, source=asked.source, moves=True)


def _place(row: Row) -> str:
    return f"{time_text(row['observed_at'])}/{row['source']}/{row['entity']}/{row['entity_id']}"


def _watching(api: FastAPI, answers: Answers, web: Web) -> None:
    @api.get("/coverage", response_model=models.answer("Coverage", gaps=models.rows(models.Gap)))
    async def list_gaps(request: Request, asked: Annotated[parameters.Coverage, Query()]) -> Response:
        """Times that no successful poll covers, newest first."""

        def question(connection: sa.Connection, _: datetime, __: Standing) -> Content:
            rows = coverage(
                connection,
                asked.source,
                since=asked.since,
                until=asked.until,
                unseen_too=asked.unseen,
                limit=asked.limit,
            )
            return {"gaps": [] if asked.is_empty else rows}

        return await answers.give(request, question, source=asked.source, moves=True)

    @api.get("/sources", response_model=models.answer("Sources", sources=models.rows(models.Source)))
    async def list_sources(request: Request, asked: Annotated[parameters.Query, Query()]) -> Response:
        """The present condition of each source, its head, and when that was last anchored and verified."""

        def question(connection: sa.Connection, now: datetime, stand: Standing) -> Content:
            heads = {row["source"]: row["head"] for row in stand.heads}
            found = statuses(connection, now, asked.source, web.polled(), web.settings.required_anchors)
            proofs = proven(connection, asked.source)
            unproven = Proven("")
            names = ("anchored_at", "anchored_seq", "anchored_until", "verified_at", "verified")
            return {
                "sources": [
                    asdict(each)
                    | {"head": heads.get(each.source)}
                    | {name: getattr(proofs.get(each.source, unproven), name) for name in names}
                    for each in found
                ]
            }

        return await answers.give(request, question, source=asked.source, moves=True)


def _following(api: FastAPI, answers: Answers, public_url: str | None) -> None:
    @api.get(
        "/events",
        response_model=models.answer(
            "Events",
            events=models.rows(models.Event, "Everything that happened, in order; `event` names the kind"),
            next=models.cursor("what happens from here on"),
            more=models.MORE,
        ),
    )
    async def list_events(request: Request, asked: Annotated[parameters.Events, Query()]) -> Response:
        """Everything that happened, by source, observation and ordinal. To continue later, give `next` as `after`."""

        def question(connection: sa.Connection, _: datetime, __: Standing) -> Content:
            after = Cursor.parse(asked.after) if asked.after else None
            page = events(connection, after, source=asked.source, limit=asked.limit)
            return {"events": page.rows, "next": str(page.cursor), "more": page.more}

        return await answers.give(request, question, source=asked.source)

    @api.get(
        "/cloudevents",
        response_model=models.answer(
            "CloudEvents",
            events=models.rows(models.CloudEvent, "What receivers are notified of, in order"),
            next=models.cursor("what happens from here on"),
            more=models.MORE,
        ),
    )
    async def list_cloudevents(request: Request, asked: Annotated[parameters.Events, Query()]) -> Response:
        """What happened, as receivers get it. There may be fewer rows than `limit`, or none, although there are more:
        receivers aren't notified of all events."""

        def question(connection: sa.Connection, _: datetime, __: Standing) -> Content:
            after = Cursor.parse(asked.after) if asked.after else None
            page = events(connection, after, source=asked.source, limit=asked.limit)
            told = [cloud_event(each, public_url) for each in notices(connection, page)]
            return {"events": told, "next": str(page.cursor), "more": page.more}

        return await answers.give(request, question, source=asked.source)


class _WithHead:
    """Answers HEAD like GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_head)
