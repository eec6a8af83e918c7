"""Messages to people through Apprise: mail, chat, phones.

Apprise comes with the extra `apprise`, and is imported only if a receiver needs it.
"""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from collector.errors import SettingsError
from collector.receivers import Receiver
from collector.service.webhooks.sending import Outcome


class People:
    """Sends messages to the Apprise URL of a receiver. Raises SettingsError if that is not possible."""

    def __init__(self, receiver: Receiver) -> None:
        assert receiver.apprise is not None  # noqa: S101 - the others are programs
        try:
            import apprise
        except ImportError:
            raise SettingsError(
                f"receiver {receiver.name}: messages to people need Apprise: pip install 'gcore-collector[apprise]'"
            ) from None
        # Its log contains URLs, and so secrets.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._seconds = receiver.timeout.total_seconds()
        self._name = receiver.name
        self._apprise: Any = apprise.Apprise()
        if not self._apprise.add(receiver.apprise.get_secret_value()):
            raise SettingsError(f"receiver {receiver.name}: apprise is not a URL that Apprise knows")
        self._running: Future[bool] | None = None

    def __call__(self, event: str) -> Outcome:
        """Send a message. One that was sent too late counts as not sent, and is sent again."""
        if self._running is not None and not self._running.done():
            return Outcome("the previous message is still being sent")
        running: Future[bool] = Future()
        self._running = running

        def send() -> None:
            try:
                running.set_result(bool(self._notify(json.loads(event))))
            except BaseException as error:  # noqa: BLE001 - passed to the caller, who reports it
                running.set_exception(error)

        # Abandoned at the deadline, because a plugin may ignore it.
        threading.Thread(target=send, name=f"people {self._name}", daemon=True).start()
        try:
            was_sent = running.result(self._seconds)
        except FutureTimeoutError:
            return Outcome(f"no answer within {self._seconds:g} s")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything, with its URL in the message
            return Outcome(f"it could not be sent ({type(error).__name__})")
        return Outcome() if was_sent else Outcome("the service did not accept the message")

    def _notify(self, said: dict[str, Any]) -> Any:
        return self._apprise.notify(body=said["body"], title=said["title"], notify_type=said["notify_type"])
