"""When to poll: the only module that knows APScheduler."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_SUBMITTED,
    JobEvent,
    JobExecutionEvent,
)
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from collector.clock import utc_now
from collector.logs import logger
from collector.service.lanes import QUICK, SLOW, Lane

SPREAD = timedelta(seconds=10)
"""The first polls of many sources are spread over this time, or over their interval if that is shorter."""

_OUT_OF_TURN = " out of turn"

log = logger(__name__)


class _Every(IntervalTrigger):  # type: ignore[misc]  # APScheduler has no types
    """One run makes up for all that were missed during a long sleep or because the clock was set forward.

    APScheduler would list them one by one: millions, after a clock without a battery is set right.
    """

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        following: datetime = super().get_next_fire_time(previous_fire_time, now)
        if following <= now:
            following = super().get_next_fire_time(now, now)
        return following


class Schedule:
    """Runs one job per source, repeatedly, on the threads of its lane; never twice at once."""

    def __init__(self) -> None:
        self.missed = 0
        """Number of skipped runs: the previous one had not ended, or the machine slept."""
        self.errors = 0
        """Number of runs that raised an unexpected error."""
        self._skipping: set[str] = set()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"quick": ThreadPoolExecutor(QUICK), "slow": ThreadPoolExecutor(SLOW)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._on_missed, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._on_submitted, EVENT_JOB_SUBMITTED)
        self._scheduler.add_listener(self._on_error, EVENT_JOB_ERROR)

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """Start no new jobs; running ones continue."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def put(self, name: str, interval: timedelta, job: Callable[[], object], *, place: float = 0.0) -> None:
        """Run a job every interval, the first time at once. `place`: position in the spread, in [0, 1)."""
        seconds = interval.total_seconds()
        self._scheduler.add_job(
            job,
            _Every(seconds=seconds, jitter=min(seconds * 0.05, 5.0), timezone=UTC),
            id=name,
            name=name,
            next_run_time=utc_now() + min(SPREAD, interval) * place,
            replace_existing=True,
            executor="quick",
        )

    def soon(self, name: str, job: Callable[[], object], lane: Lane = "quick") -> None:
        """Run a job once, out of turn; its regular runs are not changed."""
        if self._scheduler.running:
            self._scheduler.add_job(
                job, id=name + _OUT_OF_TURN, name=name, replace_existing=True, executor=lane
            )

    def move(self, name: str, lane: Lane) -> None:
        """Run a job in this lane from its next run on."""
        with suppress(JobLookupError):  # it was removed meanwhile
            self._scheduler.modify_job(name, executor=lane)

    def drop(self, name: str) -> None:
        self._scheduler.remove_job(name)

    def notice_clock_changes(self) -> None:
        """Must be called regularly: if the clock was set back, jobs would otherwise wait until it has caught up."""
        now = utc_now()
        for job in self._scheduler.get_jobs():
            if job.id.endswith(_OUT_OF_TURN):
                continue
            longest = timedelta(seconds=job.trigger.interval_length + job.trigger.jitter)
            if job.next_run_time - now > longest:
                log.warning("clock_set_back", source=job.id, next_poll_was_at=job.next_run_time)
                self._scheduler.modify_job(job.id, next_run_time=now)

    def next_run(self, name: str) -> datetime | None:
        job = self._scheduler.get_job(name)
        return None if job is None else job.next_run_time

    def _on_missed(self, event: JobEvent) -> None:
        """Count each skipped run, and log the first of consecutive ones."""
        self.missed += 1
        if event.job_id not in self._skipping:
            log.warning("poll_skipped", source=_source(event), why="the previous poll has not ended")
        self._skipping.add(event.job_id)

    def _on_submitted(self, event: JobEvent) -> None:
        self._skipping.discard(event.job_id)

    def _on_error(self, event: JobExecutionEvent) -> None:
        self.errors += 1
        log.error("poll_broke", source=_source(event), exc_info=event.exception)


def _source(event: JobEvent) -> str:
    return str(event.job_id).removesuffix(_OUT_OF_TURN)
