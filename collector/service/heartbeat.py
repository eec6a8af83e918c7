"""Calls a URL after each round in which every source was seen, so that an outside monitor notices when that stops.

    poll written ─▶ queue ─▶ all seen since the last call? ─▶ those that other replicas poll are fresh? ─▶ call

Polls never wait for this. A failure is logged once, and so is its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

import httpx
import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.database.transactions import reading
from collector.errors import CollectorError
from collector.gcore.transport import UnusableProxyError, open_client
from collector.logs import logger
from collector.poll import PollResult
from collector.reports.status import statuses
from collector.service.view import View

SECONDS = 10.0
"""Time limit for one call."""

log = logger(__name__)


class Heartbeat:
    """A companion of the service and a publisher's receiver."""

    def __init__(self, url: str, engine: sa.Engine, view: Callable[[], View], clock: Clock = utc_now) -> None:
        """`view`: the state of the service. Raises SettingsError if the environment's certificates can't be used."""
        self._client = open_client()
        self._url, self._engine, self._view, self._clock = url, engine, view, clock
        self._heard: SimpleQueue[str | None] = SimpleQueue()
        self._seen: set[str] = set()
        """Sources that were seen since the last call."""
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def hear(self, result: PollResult) -> None:
        """Take note of a written poll. Returns at once."""
        if result.outcome != "failed":
            self._heard.put(result.source)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop calling, without waiting long for a call under way."""
        self._heard.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        with self._client as client:
            while (source := self._heard.get()) is not None:
                self._seen.add(source)
                try:
                    if self._is_round():
                        self._seen.clear()
                        self._call(client)
                except Exception:
                    log.exception("heartbeat_broke")

    def _is_round(self) -> bool:
        """True if every source was seen: those of this process since the last call, the others recently."""
        sources = self._view().sources
        elsewhere = {each.name for each in sources if each.condition == "standby"}
        ours = {each.name for each in sources} - elsewhere
        if not ours or not ours <= self._seen:
            return False
        return not elsewhere or self._are_fresh(elsewhere)

    def _are_fresh(self, names: set[str]) -> bool:
        try:
            with reading(self._engine) as connection:
                found = statuses(connection, self._clock())
        except CollectorError:
            return False
        fresh = {each.source for each in found if each.verdict != "stale"}
        return names <= fresh

    def _call(self, client: httpx.Client) -> None:
        try:
            # Whatever its body is, it is not read.
            with client.stream("GET", self._url, timeout=SECONDS) as answer:
                status = answer.status_code
            why = None if status < 400 else f"status {status}"
        except UnusableProxyError as error:
            why = str(error)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            why = type(error).__name__  # its text may contain the URL, which may be a secret
        if why is not None and not self._is_failing:
            log.warning("heartbeat_failed", why=why)
        if why is None and self._is_failing:
            log.info("heartbeat_recovered")
        self._is_failing = why is not None
