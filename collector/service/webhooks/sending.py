"""One request to a receiver, within one deadline, and its result in words without secrets."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from collector.clock import Clock, utc_now
from collector.errors import SettingsError
from collector.gcore.body import error_body
from collector.gcore.cut import Cut
from collector.gcore.freshness import pause_asked
from collector.gcore.redaction import scrub_message
from collector.gcore.transport import UnusableProxyError, unconnected
from collector.receivers import Receiver
from collector.reports.cloudevents import CONTENT_TYPE
from collector.service.webhooks.signing import headers_of

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt."""

    why: str | None = None
    """Why the receiver did not accept it; None: it did."""
    wait_seconds: float = 0.0
    """How long the receiver asks to wait before the next attempt."""


Tell = Callable[[str], Outcome]
"""Delivers one event, given as the JSON in the outbox, to a receiver. Returns within its time-out."""


class Webhook:
    """Posts signed events to the URL of a receiver."""

    def __init__(self, receiver: Receiver, client: httpx.Client, clock: Clock = utc_now) -> None:
        assert receiver.url is not None  # noqa: S101 - the others are people
        self._receiver, self._client, self._clock = receiver, client, clock
        self._url = receiver.url.get_secret_value()

    def __call__(self, event: str) -> Outcome:
        try:
            keys = self._receiver.keys()
        except SettingsError as error:
            return Outcome(str(error))
        body = event.encode()
        headers = headers_of(keys, json.loads(event)["id"], self._clock(), body)
        # A receiver may repeat what it was sent, or what it expected.
        secrets = [self._url, unquote(self._url), *_parts_of(self._url)]
        return self._post(body, headers, [*secrets, *(base64.b64encode(key).decode() for key in keys)])

    def _post(self, body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> Outcome:
        seconds = self._receiver.timeout.total_seconds()
        cut = Cut()
        timer = threading.Timer(seconds, cut.now)
        timer.daemon = True
        timer.start()
        try:
            with self._client.stream(
                "POST",
                self._url,
                content=body,
                headers={"Content-Type": CONTENT_TYPE, **headers},
                timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
                extensions={"trace": cut.trace},
            ) as response:
                if response.is_success:
                    return Outcome()
                said = scrub_message(error_body(response).decode(errors="replace"), secrets, 200)
                return Outcome(
                    f"status {response.status_code}" + (f": {said}" if said else ""),
                    pause_asked(response.headers) or 0.0,
                )
        except (httpx.ConnectError, httpx.ProxyError) as error:
            return Outcome(unconnected(error))
        except UnusableProxyError as error:
            return Outcome(str(error))
        except httpx.TimeoutException:
            return Outcome(f"no answer within {seconds:g} s")
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
            # Its text may contain the URL, which is a secret.
            late = f"no answer within {seconds:g} s"
            return Outcome(late if cut.is_cut else f"the connection broke ({type(error).__name__})")
        finally:
            timer.cancel()


def _parts_of(url: str) -> list[str]:
    """The parts of a URL that may be secret: its path and query, in pieces that are too long for plain words."""
    rest = url.partition("://")[2].partition("/")[2]
    return [part for part in re.split(r"[/?&=#]", rest) if len(part) >= 12]
