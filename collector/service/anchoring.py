"""Anchors beside the polls: after each new observation, and at intervals while one continues.

    poll written ─▶ queue ─▶ due at this place? ─▶ claim, send, settle
                                    │failed
                                    ▼
                        try that place again after a minute, then after twice as long each time, up to an hour

Polls never wait for this, not even for a required anchor. It has its own thread. An unreachable place delays the
other places for one attempt at most.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from queue import Empty, SimpleQueue
from time import monotonic

import sqlalchemy as sa

from collector.anchors import Anchor
from collector.audit.anchoring.record import Last, is_due, last_anchored, make
from collector.audit.anchoring.signing import Signer
from collector.clock import Clock, utc_now
from collector.errors import DatabaseError
from collector.logs import logger
from collector.poll import PollResult

ROUND_SECONDS = 5.0
"""The longest delay until something is noticed that became due without a new observation."""
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Seconds before a failed place is tried again: the first and the longest pause."""

log = logger(__name__)


class Anchoring:
    """A companion of the service and a publisher's receiver: it anchors what this process wrote."""

    def __init__(
        self,
        engine: sa.Engine,
        anchors: tuple[Anchor, ...],
        signer: Signer | None,
        every: timedelta,
        pause: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        self._engine, self._signer, self._clock = engine, signer, clock
        self._every, self._pause = every, pause
        self._places = [_Place(anchor) for anchor in anchors]
        self._heard: SimpleQueue[tuple[str, int, int] | None] = SimpleQueue()
        self._newest: dict[str, tuple[int, int]] = {}
        """Number and polls of the newest observation, by the sources that this process writes."""
        self._thread = threading.Thread(target=self._run, name="anchoring", daemon=True)

    def hear(self, result: PollResult) -> None:
        """Take note of a written poll. Returns at once."""
        self._heard.put((result.source, result.recorded.seq, result.recorded.polls))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop anchoring, without waiting long for an anchor that is being made."""
        self._heard.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        looked = monotonic()
        while (heard := self._listen()) is not None:
            if not heard or monotonic() - looked >= ROUND_SECONDS:
                heard, looked = set(self._newest), monotonic()
            for place in self._places:
                try:
                    self._serve(place, heard)
                except DatabaseError:
                    break  # the polls report it

    def _listen(self) -> set[str] | None:
        """Wait for written polls. Returns their sources, or None at the end."""
        sources = set()
        try:
            heard = self._heard.get(timeout=ROUND_SECONDS)
            while heard is not None:
                source, seq, polls = heard
                self._newest[source] = (seq, polls)
                sources.add(source)
                heard = self._heard.get_nowait()
        except Empty:
            return sources
        return None

    def _serve(self, place: _Place, sources: set[str]) -> None:
        """Make all due anchors of these sources at a place, until the place fails. A source that can't be anchored
        stops no other."""
        for source in sorted(sources):
            if monotonic() < place.not_before:
                return
            if monotonic() < place.without.get(source, 0.0):
                continue
            try:
                self._anchor(place, source)
            except DatabaseError:
                raise
            except Exception:
                log.exception("anchoring_broke", source=source, anchor=place.anchor.name)
                place.without[source] = monotonic() + LONGEST_PAUSE

    def _anchor(self, place: _Place, source: str) -> None:
        newest = self._newest[source]
        if source not in place.last:
            place.last[source] = last_anchored(self._engine, source, place.anchor.name)
        now = self._clock()
        if not is_due(place.last[source], newest, now, self._every, self._pause):
            return
        made = make(self._engine, source, place.anchor, self._signer, self._clock)
        if made is None:
            return
        if made.outcome == "anchored":
            place.last[source] = Last(made.seq, made.polls, now)
            place.works(lambda: log.info("anchor_recovered", anchor=place.anchor.name))
            log.info(
                "anchored",
                source=source,
                anchor=place.anchor.name,
                number=made.number,
                observation=made.seq,
                value=made.value,
            )
            return
        # A missing required anchor is an error, but polls go on.
        log.log(
            logging.ERROR if place.anchor.mode == "required" else logging.WARNING,
            "not_anchored",
            source=source,
            anchor=place.anchor.name,
            why=made.error,
            tries=place.failures + 1,
        )
        place.last[source] = replace(place.last[source], failed_at=None)  # the place has its own pauses
        place.wait(monotonic())


class _Place:
    """One anchor, what it has of each source, and when it may be tried again."""

    def __init__(self, anchor: Anchor) -> None:
        self.anchor = anchor
        self.last: dict[str, Last] = {}
        self.without: dict[str, float] = {}
        """Sources that can't be anchored, and until when they are left alone."""
        self.failures = 0
        self.not_before = 0.0

    def wait(self, now: float) -> None:
        """Record a failure."""
        self.not_before = now + min(FIRST_PAUSE * 2.0**self.failures, LONGEST_PAUSE)
        self.failures = min(self.failures + 1, 100)

    def works(self, tell: Callable[[], None]) -> None:
        if self.failures:
            tell()
        self.failures, self.not_before = 0, 0.0
