"""Messages to people, by Apprise: mail, chat, phones.

It is the extra `apprise`, and imported only where a receiver asks for it.
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
    """Sends messages to the Apprise URL of a receiver. Raises SettingsError where that can't be done."""

    def __init__(self, receiver: Receiver) -> None:
        assert receiver.apprise is not None  # noqa: S101 - others are programs
        try:
            import apprise
        except ImportError:
            raise SettingsError(
                f"webhook {receiver.name}: messages to people need Apprise: pip install 'gcore-collector[apprise]'"
            ) from None
        # Its log names URLs, and with them secrets.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._seconds = receiver.timeout.total_seconds()
        self._name = receiver.name
        self._apprise: Any = apprise.Apprise()
        if not self._apprise.add(receiver.apprise.get_secret_value()):
            raise SettingsError(f"webhook {receiver.name}: apprise is no URL that Apprise knows")
        self._running: Future[bool] | None = None

    def __call__(self, event: str) -> Outcome:
        """What was sent too late counts as not sent, and is sent again."""
        if self._running is not None and not self._running.done():
            return Outcome("the message before is still being sent")
        running: Future[bool] = Future()
        self._running = running

        def send() -> None:
            try:
                running.set_result(bool(self._notify(json.loads(event))))
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who tells it
                running.set_exception(error)

        # Left behind at the deadline: a plugin may heed none.
        threading.Thread(target=send, name=f"people {self._name}", daemon=True).start()
        try:
            was_sent = running.result(self._seconds)
        except FutureTimeoutError:
            return Outcome(f"no answer within {self._seconds:g} s")
        except Exception as error:  # noqa: BLE001 - a plugin may raise whatever it likes, and name its URL
            return Outcome(f"it could not be sent ({type(error).__name__})")
        return Outcome() if was_sent else Outcome("the service did not take the message")

    def _notify(self, said: dict[str, Any]) -> Any:
        return self._apprise.notify(body=said["body"], title=said["title"], notify_type=said["notify_type"])
