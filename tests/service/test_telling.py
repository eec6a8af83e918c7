"""`collector run` tells receivers, from end to end: a real cloud, a real process, a real receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.builders import answer, body, region
from tests.support.loopback import Server, reply
from tests.support.receivers import SECRET, Receiver
from tests.support.services import Start, looking_into, until

CANARY = "canary-0123456789abcdef"


def cloud(*states: str) -> Server:
    """An API whose only region goes through these states."""
    return Server(*(reply(body=body(answer([region(1, state)]))) for state in states))


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.mark.long
def test_the_service_tells_at_once_and_again_when_a_receiver_is_back(
    database_url: str,
    start: Start,
    hook: Receiver,
) -> None:
    with cloud("ACTIVE") as server:
        hook.status = 500
        running = start(
            database_url, base_url=server.url, webhook_url=f"{hook.url}/{CANARY}", webhook_secret=SECRET
        )
        running.until_polled()
        server.turn_to(reply(body=body(answer([region(1, "MAINTENANCE")]))))
        running.until("receiver_fails")
        hook.status = 200
        until(lambda: hook.taken)
        running.until("receiver_recovered")
        assert running.stop() == 0
        assert [event["data"]["to_state"] for event in hook.taken] == ["MAINTENANCE"]
        assert CANARY not in running.log.read_text()
    with looking_into(database_url) as history:
        (queue,) = history.rows("webhook_queues")
        assert (queue["claimed_by"], queue["failures"]) == (None, 0)


@pytest.mark.long
def test_the_service_tells_of_a_gap_while_it_lasts(
    database_url: str,
    start: Start,
    hook: Receiver,
) -> None:
    with cloud("ACTIVE") as server:
        running = start(database_url, base_url=server.url, webhook_url=hook.url, webhook_secret=SECRET)
        running.until_polled()
        server.turn_to(reply(500))
        until(lambda: hook.taken)
        server.turn_to(reply(body=body(answer([region(1)]))))
        until(lambda: len(hook.taken) == 2)
        running.stop()
    assert [event["type"] for event in hook.taken] == [
        "gcore-collector.gap_opened",
        "gcore-collector.gap_closed",
    ]
