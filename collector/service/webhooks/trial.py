"""A test event, so that a receiver can be tried before anything happens."""

from __future__ import annotations

import secrets
from datetime import datetime

from collector.clock import time_text
from collector.receivers import Receiver
from collector.reports.cloudevents import TYPE_PREFIX, text_of

TYPE = f"{TYPE_PREFIX}test"


def trial_event(receiver: Receiver, now: datetime) -> str:
    """The event that `collector webhooks test` sends to a receiver, as it would be in the outbox."""
    event_id = f"test-{secrets.token_hex(8)}"
    words = "This is a test of the collector. Nothing happened."
    if receiver.apprise is not None:
        return text_of({"id": event_id, "title": "Test", "body": words, "notify_type": "info"})
    return text_of(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": "urn:gcore-collector:test",
            "type": TYPE,
            "subject": "test",
            "time": time_text(now),
            "datacontenttype": "application/json",
            "data": {"event": "test", "observed_at": now, "words": words},
        }
    )
