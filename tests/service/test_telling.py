"""`collector run` tells receivers, from end to end: a real cloud, a real process, a real receiver."""

from __future__ import annotations

import pytest

from tests.support.builders import answer, body, region
from tests.support.loopback import Server, Step, reply
from tests.support.receivers import SECRET, Receiver
from tests.support.services import Start, looking_into, until

CANARY = "canary-0123456789abcdef"


def shows(state: str) -> Step:
    """An answer whose only region is in this state."""
    return reply(body=body(answer([region(1, state)])))


@pytest.mark.long
def test_the_service_tells_at_once_and_again_when_a_receiver_is_back(
    database_url: str,
    start: Start,
    hook: Receiver,
) -> None:
    with Server(shows("ACTIVE")) as server:
        hook.status = 500
        running = start(
            database_url, base_url=server.url, webhook_url=f"{hook.url}/{CANARY}", webhook_secret=SECRET
        )
        running.until_polled()
        server.turn_to(shows("MAINTENANCE"))
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
    with Server(shows("ACTIVE")) as server:
        running = start(database_url, base_url=server.url, webhook_url=hook.url, webhook_secret=SECRET)
        running.until_polled()
        server.turn_to(reply(500))
        until(lambda: hook.taken)
        server.turn_to(shows("ACTIVE"))
        until(lambda: len(hook.taken) == 2)
        running.stop()
    assert [event["type"] for event in hook.taken] == [
        "gcore-collector.gap_opened",
        "gcore-collector.gap_closed",
    ]
