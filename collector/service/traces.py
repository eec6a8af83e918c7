"""Polls as OpenTelemetry traces, if the extra `otel` is installed and the usual variables ask for them.

    poll ─┬─ fetch
          ├─ read
          ├─ decide
          └─ write

Spans are made from the result of `poll()` after it was written: polls know nothing about them and never wait for
them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from collector import __version__
from collector.logs import logger
from collector.poll import PollResult

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH_SECONDS = 1.5

log = logger(__name__)


class Traces:
    """A companion of the service and a publisher's receiver."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("collector", __version__)

    def trace(self, result: PollResult) -> None:
        """Pass a poll to the threads that send spans. Returns at once."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        answered, writing = _nanoseconds(result.answered_at), _nanoseconds(result.write_began_at)
        began = answered - round(result.fetch_seconds * 1e9)
        recorded = result.recorded
        poll = self._tracer.start_span(
            "poll",
            start_time=began,
            attributes={
                "collector.source": result.source,
                "collector.outcome": result.outcome,
                "collector.seq": recorded.seq,
                "collector.attempts": result.attempts,
                "collector.transitions": len(recorded.transitions),
            },
        )
        if result.failure is not None:
            poll.set_attribute("error.type", result.failure.cause)
            poll.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(poll)
        ends = began
        for phase, earliest in (("fetch", began), ("read", began), ("decide", writing), ("write", writing)):
            begins = max(earliest, ends)
            ends = begins + round(getattr(result, f"{phase}_seconds") * 1e9)
            kind = SpanKind.CLIENT if phase == "fetch" else SpanKind.INTERNAL
            self._tracer.start_span(phase, inside, kind, start_time=begins).end(ends)
        poll.end(ends)

    def start(self) -> None:
        """Does nothing: a thread of the library sends spans."""

    def stop(self) -> None:
        """Send what waits, as far as that is quick."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        self._provider.force_flush(round(FLUSH_SECONDS * 1000))
        ending.start()
        ending.join(0.5)


def _nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970, exact to the microsecond."""
    return round(moment.timestamp() * 1_000_000) * 1000


def traces(environment: Mapping[str, str] | None = None) -> Traces | None:
    """Traces as the usual variables ask for: an endpoint, or OTEL_TRACES_EXPORTER=console.

    None if nothing asks for traces, or if the extra is not installed, which is logged.
    """
    environment = os.environ if environment is None else environment
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    is_wanted = exporter in ("otlp", "console") or (
        not exporter and any(environment.get(e) for e in _ENDPOINTS)
    )
    if not is_wanted or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError:
        log.warning(
            "no_traces",
            why="the extra is missing: pip install gcore-collector[otel]",
        )
        return None
    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    own = {"service.version": __version__} | ({} if named else {"service.name": "gcore-collector"})
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    sender = ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(sender))
    return Traces(provider)
