"""Polls as traces, sent to a collector of traces on loopback by the library itself."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from collector.service.traces import traces
from tests.support.builders import region
from tests.support.history import History, failure


class Receiver(http.server.ThreadingHTTPServer):
    """Takes spans in, at /v1/traces."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                said = ExportTraceServiceRequest()
                said.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                for each in said.resource_spans:
                    facts = {fact.key: fact.value.string_value for fact in each.resource.attributes}
                    receiver.services.add(facts["service.name"])
                    receiver.spans += [span for scope in each.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Where the usual variables send traces."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.shutdown()
        thread.join(10)


def test_a_poll_is_a_trace_with_a_span_for_each_phase(history: History, receiver: Receiver) -> None:
    sender = traces()
    assert sender is not None
    sender.start()
    good = history.poll([region(1), region(2)], at=0)
    bad = history.poll(failure("http_status", http_status=503), at=60)
    for result in (good, bad):
        sender.trace(result)
    sender.stop()
    assert receiver.services == {"gcore-collector"}
    polls = [span for span in receiver.spans if span.name == "poll"]
    assert len(polls) == 2
    for poll, result in zip(polls, (good, bad), strict=True):
        phases = [span for span in receiver.spans if span.parent_span_id == poll.span_id]
        assert [span.name for span in phases] == ["fetch", "read", "decide", "write"]
        assert {span.trace_id for span in phases} == {poll.trace_id}
        for span in phases:
            taken = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
            assert taken == pytest.approx(getattr(result, f"{span.name}_seconds"), abs=1e-6)
            assert poll.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= poll.end_time_unix_nano
        facts = {fact.key: fact.value for fact in poll.attributes}
        assert facts["collector.source"].string_value == "gcore"
        assert facts["collector.outcome"].string_value == result.outcome
        assert facts["collector.seq"].int_value == result.recorded.seq
    assert (polls[0].status.code, polls[1].status.code) == (0, 2)
    assert {f.key: f.value.string_value for f in polls[1].attributes}["error.type"] == "http_status"


@pytest.mark.parametrize(
    ("variables", "is_wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
    ],
)
def test_only_who_asks_gets_traces(variables: dict[str, str], is_wanted: bool) -> None:
    sender = traces(variables)
    assert (sender is not None) == is_wanted
    if sender is not None:
        sender.stop()


def test_without_the_extra_it_is_said_and_polls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        assert traces({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert [line["event"] for line in lines] == ["no_traces"]
    assert "gcore-collector[otel]" in lines[0]["why"]


def test_nothing_is_imported_unless_somebody_asks() -> None:
    text = (
        "import sys; from collector.service import runtime, traces; assert traces.traces({}) is None; "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", text], check=True, timeout=60)
