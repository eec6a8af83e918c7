"""/metrics for Prometheus: what this process did since it started, and what the database says, the same on every
replica.

    View (of the service in this process) ─┐
    Figures (of the database) ─────────────┼─▶ Sheet ─▶ text, or OpenMetrics
    process, platform, garbage collector ──┘

There are no series per region beyond a few hundred regions, and none per state beyond a dozen: a thousand sources
with a thousand regions each give thousands of series. Times are absolute, never ages: `time() - …` is the age when
asked.
"""

from __future__ import annotations

import asyncio
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from collector import __version__
from collector.errors import CollectorError
from collector.gcore.enums import RegionState
from collector.gcore.exchange import Cause
from collector.inventory.observation import Outcome
from collector.logs import logger
from collector.reports.anchored import VERDICTS
from collector.reports.figures import Figures, figures
from collector.reports.status import Verdict
from collector.reports.words import brief
from collector.service.tally import BOUNDS

if TYPE_CHECKING:
    from collector.service.view import View
    from collector.web.app import Web

PREFIX = "gcore_collector_"
TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"
"""Prometheus says how long it waits: https://prometheus.io/docs/instrumenting/writing_exporters/"""
USUAL_TIMEOUT = 10.0
"""Prometheus' default."""
_CONDITIONS = ("written", "standby", "lost", "database", "refused")

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Spec:
    """A metric's specification, without its prefix, and for counters without `_total`."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


OF_PROCESS: Mapping[str, Spec] = {
    "build_info": Spec("gauge", "Version of the collector and of Python; always 1", ("version", "python")),
    "polls": Spec("counter", "Polls that this process wrote", ("source", "outcome")),
    "failed_polls": Spec("counter", "Failed polls that this process wrote", ("source", "cause")),
    "poll_phase_seconds": Spec("histogram", "How long each phase of a poll took in this process", ("phase",)),
    "poll_retries": Spec(
        "counter", "Requests beyond the first of each poll that this process wrote", ("source",)
    ),
    "transitions": Spec(
        "counter", "Changes of state or presence that this process saw", ("source", "entity", "kind")
    ),
    "missed_polls": Spec(
        "counter", "Polls that were skipped because the previous one had not ended or the machine slept"
    ),
    "broken_polls": Spec("counter", "Polls that ended with an unexpected exception"),
    "lease_held": Spec("gauge", "Is 1 if this process holds the lease of a source", ("source",)),
    "kept_answers": Spec("gauge", "Answers that wait in memory for the database", ("source",)),
    "source_condition": Spec(
        "gauge",
        "Is 1 for the condition of a source in this process: its polls are written, or why they are not",
        ("source", "condition"),
    ),
    "event_attempts": Spec(
        "counter",
        "Attempts of this process to deliver an event: delivered, failed (will be tried again) or given_up",
        ("receiver", "outcome"),
    ),
    "prunes": Spec(
        "counter",
        "Attempts of this process to prune what COLLECTOR_KEEP does not keep: pruned or failed",
        ("source", "outcome"),
    ),
}
"""Without the service in this process, only the first one exists."""
OF_DATABASE: Mapping[str, Spec] = {
    "database_up": Spec("gauge", "Is 1 if the database could be queried just now"),
    "database_size_bytes": Spec("gauge", "Size of the database"),
    "disk_free_bytes": Spec("gauge", "Free space on the disk of a SQLite database; missing on PostgreSQL"),
    "disk_size_bytes": Spec("gauge", "Size of the disk of a SQLite database; missing on PostgreSQL"),
    "source_verdict": Spec(
        "gauge", "Is 1 for the verdict on a source, as in collector status", ("source", "verdict")
    ),
    "source_leased": Spec("gauge", "Is 1 if any process holds the lease of a source", ("source",)),
    "leases_taken": Spec("counter", "Times that a process took the lease of a source", ("source",)),
    "expected_interval_seconds": Spec("gauge", "Time between two polls of a source, as set", ("source",)),
    "last_poll_timestamp_seconds": Spec(
        "gauge", "When the newest poll of a source was answered", ("source",)
    ),
    "last_success_timestamp_seconds": Spec(
        "gauge", "When the newest successful poll of a source was answered", ("source",)
    ),
    "observations": Spec("counter", "Observations of a source, that is, runs of equal polls", ("source",)),
    "gap_seconds": Spec("counter", "Time that no successful poll of a source covers", ("source",)),
    "gaps_last_day": Spec("gauge", "Gaps in the last 24 hours", ("source",)),
    "regions": Spec("gauge", "Regions that are present", ("source", "state")),
    "keystones": Spec("gauge", "Keystones that are present", ("source", "state")),
    "unseen_regions": Spec("gauge", "Regions that are present but were not shown", ("source",)),
    "held_regions": Spec("gauge", "Regions whose absence waits for confirmation", ("source",)),
    "rejected_records": Spec("gauge", "Records of the newest answer that could not be used", ("source",)),
    "verification_timestamp_seconds": Spec(
        "gauge", "When the last verification with a kept result ended", ("source",)
    ),
    "verification_verdict": Spec("gauge", "Is 1 for the verdict of that verification", ("source", "verdict")),
    "anchor_timestamp_seconds": Spec(
        "gauge", "When an anchor accepted its newest digest of a source", ("source", "anchor")
    ),
    "anchor_covers_until_timestamp_seconds": Spec(
        "gauge", "When the newest answer that this digest covers was given", ("source", "anchor")
    ),
    "anchor_failing": Spec(
        "gauge", "Is 1 if an anchor did not accept the last digest that it was given", ("source", "anchor")
    ),
    "anchors_failed": Spec("counter", "Digests that an anchor did not accept", ("source", "anchor")),
    "schema_drift": Spec(
        "gauge", "Recorded things that the documented schema does not describe", ("source",)
    ),
    "region_state": Spec(
        "gauge",
        "Is 1 for the state of each region; missing if more than 200 regions are present in the database",
        ("source", "region_id", "slug", "state"),
    ),
    "event_backlog": Spec("gauge", "Events that wait to be delivered to a receiver", ("receiver",)),
    "event_dead_letters": Spec("gauge", "Events that were given up and are still kept", ("receiver",)),
    "event_oldest_timestamp_seconds": Spec(
        "gauge", "When the oldest waiting event was queued; missing if none waits", ("receiver",)
    ),
}
"""The same on every replica."""


class Sheet:
    """Metrics with their values, in the order of their specifications."""

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self._families: dict[str, Any] = {name: _family(name, spec) for name, spec in specs.items()}
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in specs}

    def put(self, name: str, value: float | None, *labels: object) -> None:
        """Add a value; an unknown one is left out. Two whose labels become equal when they are cut are one."""
        if value is not None:
            key = tuple(brief(str(label)) for label in labels)
            self._values[name][key] = self._values[name].get(key, 0.0) + float(value)

    def one_of(self, name: str, is_so: str, words: Iterable[str], *labels: object) -> None:
        """Add 1 for the current word, and 0 for each other word."""
        for word in dict.fromkeys((*words, is_so)):
            self.put(name, word == is_so, *labels, word)

    def spread(self, name: str, counts: Iterable[int], seconds: float, *labels: str) -> None:
        """Add a histogram over BOUNDS."""
        ends = [*(str(bound) for bound in BOUNDS), "+Inf"]
        self._families[name].add_metric(labels, list(zip(ends, accumulate(counts), strict=True)), seconds)

    def families(self) -> Iterable[Metric]:
        for name, family in self._families.items():
            for labels, value in self._values[name].items():
                family.add_metric(labels, value)
            yield family


def _family(name: str, spec: Spec) -> Any:
    made = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    return made[spec.kind](PREFIX + name, spec.help, labels=spec.labels)


def of_process(view: View | None) -> Sheet:
    """What this process did since it started."""
    sheet = Sheet(OF_PROCESS if view else {"build_info": OF_PROCESS["build_info"]})
    sheet.put("build_info", 1, __version__, platform.python_version())
    if view is None:
        return sheet
    for phase, taken in view.phases.items():
        sheet.spread("poll_phase_seconds", taken.counts, taken.seconds, phase)
    sheet.put("missed_polls", view.missed)
    sheet.put("broken_polls", view.broken)
    for each in view.sources:
        name = each.name
        for outcome in get_args(Outcome):
            sheet.put("polls", each.tally.outcomes.get(outcome, 0), name, outcome)
        for cause in get_args(Cause):
            sheet.put("failed_polls", each.tally.causes.get(cause, 0), name, cause)
        for (entity, kind), number in sorted(each.tally.transitions.items()):
            sheet.put("transitions", number, name, entity, kind)
        sheet.put("poll_retries", each.tally.retries, name)
        sheet.put("lease_held", each.holds_lease, name)
        sheet.put("kept_answers", each.kept, name)
        sheet.one_of("source_condition", each.condition or "written", _CONDITIONS, name)
    for (receiver, outcome), number in sorted(view.attempts.items()):
        sheet.put("event_attempts", number, receiver, outcome)
    for (name, outcome), number in sorted(view.prunes.items()):
        sheet.put("prunes", number, name, outcome)
    return sheet


def of_database(found: Figures | None) -> Sheet:
    """What the database says; None: it could not be queried."""
    if found is None:
        sheet = Sheet({"database_up": OF_DATABASE["database_up"]})
        sheet.put("database_up", 0)
        return sheet
    sheet = Sheet(OF_DATABASE)
    sheet.put("database_up", 1)
    sheet.put("database_size_bytes", found.size_bytes)
    if found.disk is not None:
        sheet.put("disk_free_bytes", found.disk.free)
        sheet.put("disk_size_bytes", found.disk.total)
    for each in found.sources:
        name = each.source
        sheet.one_of("source_verdict", each.verdict, get_args(Verdict), name)
        sheet.put("source_leased", each.lease_owner is not None, name)
        sheet.put("leases_taken", found.leases_taken.get(name), name)
        sheet.put("expected_interval_seconds", each.interval_seconds, name)
        sheet.put("last_poll_timestamp_seconds", _seconds(each.last_poll_at), name)
        sheet.put("last_success_timestamp_seconds", _seconds(each.last_seen_at), name)
        sheet.put("observations", each.newest_seq, name)
        sheet.put("gap_seconds", found.gap_seconds[name], name)
        sheet.put("gaps_last_day", each.gaps_last_day, name)
        sheet.put("unseen_regions", each.unseen, name)
        sheet.put("held_regions", each.held, name)
        sheet.put("rejected_records", each.rejected, name)
        sheet.put("schema_drift", each.drift, name)
        if (proof := found.proven.get(name)) is not None and proof.verified is not None:
            sheet.put("verification_timestamp_seconds", _seconds(proof.verified_at), name)
            sheet.one_of("verification_verdict", proof.verified, VERDICTS, name)
    for place in found.places:
        labels = (place.source, place.target)
        sheet.put("anchor_timestamp_seconds", _seconds(place.anchored_at), *labels)
        sheet.put("anchor_covers_until_timestamp_seconds", _seconds(place.until), *labels)
        sheet.put("anchor_failing", place.error is not None, *labels)
        sheet.put("anchors_failed", place.failed, *labels)
    for (name, state), number in sorted(found.regions.items()):
        sheet.put("regions", number, name, state)
    for (name, state), number in sorted(found.keystones.items()):
        sheet.put("keystones", number, name, state)
    for region in found.each_region:
        whose = (region.source, region.region_id, region.slug or "")
        sheet.one_of("region_state", region.state, get_args(RegionState), *whose)
    for backlog in found.receivers:
        sheet.put("event_backlog", backlog.waiting, backlog.receiver)
        sheet.put("event_dead_letters", backlog.dead_letters, backlog.receiver)
        sheet.put("event_oldest_timestamp_seconds", _seconds(backlog.oldest_at), backlog.receiver)
    return sheet


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


class _Scrape:
    """A registry of the sheets and of the client library's process metrics."""

    def __init__(self, usual: CollectorRegistry, *sheets: Sheet) -> None:
        self._usual, self._sheets = usual, sheets

    def collect(self) -> Iterable[Metric]:
        for sheet in self._sheets:
            yield from sheet.families()
        yield from self._usual.collect()


def _patience(given: str) -> float:
    """Seconds to wait for the database, if Prometheus waits this long. A target that answers later counts as down,
    although only its database is."""
    waits = float(given) if re.fullmatch(r"\d{1,4}(\.\d{1,9})?", given, re.ASCII) else USUAL_TIMEOUT
    return min(waits, USUAL_TIMEOUT) * 0.7


def routes(web: Web) -> list[BaseRoute]:
    """/metrics, with its own thread, so that pages don't keep Prometheus waiting."""
    usual = CollectorRegistry()
    ProcessCollector(registry=usual)
    PlatformCollector(registry=usual)
    GCCollector(registry=usual)
    data = web.data.apart()

    async def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))

        def text(found: Figures | None) -> Response:
            process = of_process(web.view())
            scrape: Any = _Scrape(usual, process, of_database(found))
            return Response(encode(scrape), headers={"content-type": media_type, "cache-control": "no-store"})

        def ask(connection: sa.Connection) -> Response:
            required = web.settings.required_anchors
            return text(figures(connection, web.clock(), web.polled(), web.receivers(), required))

        seconds = _patience(request.headers.get(TIMEOUT_HEADER, ""))
        try:
            name = request.headers.get("accept")
            asked = data.ask(ask, even_if_stale=True, shared_by=("metrics", name))
            return await asyncio.wait_for(asked, seconds)
        except CollectorError as error:
            why = str(error)
        except TimeoutError:
            why = f"no answer within {seconds:g} s"
        log.warning("database_not_measured", error=why)
        return text(None)

    return [Route("/metrics", metrics)]
