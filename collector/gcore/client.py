"""Asks the API. A poll is one question with its retries, inside one deadline.

The result is always a value: `Answer` with a body, or `Failure` with a cause. Programming errors still raise.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from time import monotonic, sleep

import httpx
import tenacity

from collector import __version__
from collector.clock import Clock, utc_now
from collector.gcore import freshness, paging
from collector.gcore.body import (
    MAX_BODY,
    CompressionError,
    TooLargeError,
    error_body,
    error_fields,
    read_body,
)
from collector.gcore.cut import Cut
from collector.gcore.exchange import Answer, Cause, Exchange, Failure, Request
from collector.gcore.redaction import scrub_message
from collector.gcore.transport import Ways, set_location_aside
from collector.spelling import LISTING

PATH = LISTING

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
MAX_RETRY_AFTER = 60.0
RETRIED_STATUS = frozenset({408, 409, 429})
MAX_THREADS = 24
"""Maximum number of attempts under way at once, including abandoned ones that still hang."""


class Client:
    """One HTTP client for all sources, because its TLS context is expensive. Thread-safe.

    Connections are not kept: servers close them before the next poll, and every poll must be able to cut its own
    connection at its deadline.

    Raises SettingsError if the environment's certificates can't be used.
    """

    def __init__(
        self,
        *,
        clock: Clock = utc_now,
        max_body: int = MAX_BODY,
        max_attempts: int = 6,
        max_threads: int = MAX_THREADS,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._clock = clock
        self._max_body = max_body
        self._max_attempts = max_attempts
        self._max_threads = max_threads
        self._room = threading.Semaphore(max_threads)
        self._pause = pause
        self._http = httpx.Client(
            headers={
                "User-Agent": f"gcore-collector/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "Cache-Control": "no-cache",
            },
            follow_redirects=False,  # a redirect must not get the key
            transport=Ways(),
            trust_env=False,
            event_hooks={"response": [set_location_aside]},
        )
        # A cookie of one source must not be sent with the key of another.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def close(self) -> None:
        self._http.close()

    def fetch(self, request: Request) -> Answer | Failure:
        """Ask until there is an answer, a final failure, or no time left. Returns the last failure if there is no
        answer.
        """
        ends = monotonic() + request.deadline.total_seconds()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(_is_transient),
            stop=partial(_give_up, self._max_attempts, ends),
            wait=_wait,
            sleep=self._pause,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        result: _Attempt = retrying(self._attempt, request, ends)
        attempts = retrying.statistics["attempt_number"]
        outcome = result.outcome
        exchange = replace(outcome.exchange, attempts=attempts)
        if isinstance(outcome, Failure):
            return replace(outcome, exchange=exchange, is_transient=result.is_transient)
        return replace(outcome, exchange=exchange)

    def _attempt(self, request: Request, ends: float) -> _Attempt:
        """One attempt, in its own thread, which is abandoned at the deadline.

        Name look-ups, and attempts to connect to all addresses of a name, ignore time-outs.
        """
        exchange = Exchange(asked_at=(asked_at := self._clock()), answered_at=asked_at)
        cut = Cut()
        done: Future[_Attempt] = Future()

        def attempt() -> None:
            try:
                result = self._exchange(request, ends, exchange, cut)
            except BaseException as error:  # noqa: BLE001 - passed to the caller, who raises it
                self._room.release()
                done.set_exception(error)
            else:
                self._room.release()
                done.set_result(result)

        if not self._room.acquire(timeout=max(ends - monotonic(), 0.001)):
            what = f"no connection: {self._max_threads} earlier attempts still hang; check whether name look-ups hang"
            return _Attempt(Failure(self._answered(exchange), "connect", what), is_transient=True)
        threading.Thread(target=attempt, name="fetch", daemon=True).start()
        try:
            return done.result(max(ends - monotonic(), 0.001))
        except FutureTimeoutError:
            cut.now()
            return _Attempt(self._too_late(request, exchange, cut), is_transient=True)

    def _exchange(self, request: Request, ends: float, exchange: Exchange, cut: Cut) -> _Attempt:
        scrub = partial(scrub_message, secrets=(request.key,))
        max_body = self._max_body if request.max_body is None else request.max_body

        def failed(cause: Cause, what: str) -> _Attempt:
            return _Attempt(Failure(self._answered(exchange), cause, scrub(what)), is_transient=True)

        try:
            with self._stream(request, ends, cut) as response:
                now = max(self._clock(), exchange.asked_at)  # in the same way as it would be written
                exchange = _with_headers(exchange, response.headers, now)
                if response.status_code != 200:
                    return _refused(response, error_body(response), self._answered(exchange), scrub)
                whole = read_body(response, max_body)
        except httpx.TimeoutException:
            return _Attempt(self._too_late(request, exchange, cut), is_transient=True)
        except httpx.ConnectError as error:
            return failed("connect", f"no connection: {error}")
        except TooLargeError:
            what = f"the body is larger than {max_body:,} bytes"
            return _Attempt(Failure(self._answered(exchange), "too_large", what, 200), is_transient=False)
        except (CompressionError, zlib.error) as error:
            return failed("protocol", f"the body can't be decompressed: {error}")
        except httpx.UnsupportedProtocol as error:  # an unusable proxy
            return _Attempt(Failure(self._answered(exchange), "connect", str(error)), is_transient=False)
        except (httpx.InvalidURL, UnicodeError) as error:
            what = scrub(f"the address can't be used: {error}")
            return _Attempt(Failure(self._answered(exchange), "connect", what), is_transient=False)
        except httpx.NetworkError as error:
            return failed("protocol", f"the connection broke: {error}")
        except httpx.RemoteProtocolError as error:
            return failed("protocol", f"the answer is incomplete or not HTTP: {error}")
        except httpx.TransportError as error:
            return failed("protocol", f"{type(error).__name__}: {error}")
        return _Attempt(Answer(self._answered(exchange), whole), is_transient=False)

    def _too_late(self, request: Request, exchange: Exchange, cut: Cut) -> Failure:
        """The deadline or a time-out, whichever was first: both get the same cause."""
        seconds = request.deadline.total_seconds()
        if not cut.is_connected:
            what = f"no connection within {min(CONNECT_TIMEOUT, seconds):g} s"
            return Failure(self._answered(exchange), "connect", what)
        return Failure(self._answered(exchange), "timeout", f"no complete answer within {seconds:g} s")

    def _answered(self, exchange: Exchange) -> Exchange:
        return replace(exchange, answered_at=max(self._clock(), exchange.asked_at))

    @contextmanager
    def _stream(self, request: Request, ends: float, cut: Cut) -> Iterator[httpx.Response]:
        left = max(ends - monotonic(), 0.001)
        timeout = httpx.Timeout(min(READ_TIMEOUT, left), connect=min(CONNECT_TIMEOUT, left))
        with self._http.stream(
            "GET",
            request.base_url.rstrip("/") + PATH,
            headers={"Authorization": f"{request.scheme} {request.key}"},
            timeout=timeout,
            extensions={"trace": cut.trace},
        ) as response:
            yield response


@dataclass(frozen=True, slots=True)
class _Attempt:
    outcome: Answer | Failure
    is_transient: bool
    """True if another attempt may succeed."""
    retry_after: float | None = None


def _refused(
    response: httpx.Response, body: bytes, exchange: Exchange, scrub: Callable[[str], str]
) -> _Attempt:
    status = response.status_code
    error = error_fields(body)
    if status == 304 and not response.extensions["location"]:
        message = "not modified, says a cache between here and the API, though the request has no condition"
    elif 300 <= status < 400:
        message = f"redirected to {response.extensions['location'] or 'nowhere'}; redirects are not followed"
    else:
        message = error.get("message") or response.reason_phrase or "no message"
    return _Attempt(
        Failure(
            exchange=exchange,
            cause="http_status",
            message=scrub(message),
            http_status=status,
            exception_class=_optional(scrub, error.get("exception_class")),
            request_id=_optional(scrub, error.get("request_id") or response.headers.get("X-Request-Id")),
        ),
        is_transient=status in RETRIED_STATUS or status >= 500,
        retry_after=_retry_after(response),
    )


def _optional(scrub: Callable[[str], str], text: str | None) -> str | None:
    return scrub(text)[:200] if text else None


def _with_headers(exchange: Exchange, headers: httpx.Headers, now: datetime) -> Exchange:
    age = freshness.age_of(headers, now)
    return replace(
        exchange,
        clock_offset=freshness.clock_offset(headers, now, age),
        age=age,
        paging=paging.in_headers(headers),
        total=paging.total_in_headers(headers),
    )


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait, as Retry-After says, at most MAX_RETRY_AFTER; None if it is missing or unusable."""
    seconds = freshness.pause_asked(response.headers)
    return seconds if seconds is not None and seconds <= MAX_RETRY_AFTER else None


_backoff = tenacity.wait_exponential_jitter(multiplier=0.5, max=8.0, jitter=0.5)


def _wait(state: tenacity.RetryCallState) -> float:
    attempt: _Attempt | None = state.outcome.result() if state.outcome else None
    if attempt is not None and attempt.retry_after is not None:
        return attempt.retry_after
    return _backoff(state)


def _is_transient(attempt: _Attempt) -> bool:
    return attempt.is_transient


def _give_up(max_attempts: int, ends: float, state: tenacity.RetryCallState) -> bool:
    return state.attempt_number >= max_attempts or monotonic() + state.upcoming_sleep >= ends
