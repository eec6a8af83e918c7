"""Delivers what is due, once, for use without a running service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.receivers import Receiver
from collector.service.webhooks.announcing import Announcer
from collector.service.webhooks.companion import announce_open_gaps, clean, tellers_of
from collector.service.webhooks.delivering import Deliverer
from collector.store.lease import process_name


def deliver_once(
    engine: sa.Engine,
    receivers: Sequence[Receiver],
    announcer: Announcer,
    sources: Sequence[str],
    keep: timedelta,
    clock: Clock = utc_now,
) -> Mapping[str, Mapping[str, int]]:
    """Announce open gaps of these sources, deliver what is due, and delete what is older than `keep`.

    Returns the outcomes of attempts by receiver. Raises SettingsError if a receiver can't be used, and DatabaseError.
    """
    announce_open_gaps(engine, announcer, sources, clock)
    counts: dict[str, Counter[str]] = {each.name: Counter() for each in receivers}
    owner = process_name()

    def count(receiver: str, outcome: str, times: int) -> None:
        counts[receiver][outcome] += times

    deliverers = [
        Deliverer(engine, each, tell, f"{owner}/{each.name}", clock=clock, count=count)
        for each, tell in zip(receivers, tellers_of(receivers, clock), strict=True)
    ]

    def run(deliverer: Deliverer) -> None:
        while deliverer.round():
            pass

    with ThreadPoolExecutor(max(len(deliverers), 1), "receiver") as pool:
        for done in [pool.submit(run, each) for each in deliverers]:
            done.result()
    clean(engine, announcer.names, keep, clock)
    return counts
