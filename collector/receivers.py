"""Receivers of events in the settings: a webhook, or people by an Apprise URL."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from collector.errors import SettingsError
from collector.spelling import NAME, check_url, parse_duration, shown_path, text_in

EventKind = Literal[
    "state_changed",
    "appeared",
    "disappeared",
    "returned",
    "fields_changed",
    "gap_opened",
    "gap_closed",
    "drift",
    "verification_failed",
]
"""Kinds of events. The CloudEvents type is this with the prefix `gcore-collector.`."""
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)
_LEAST_SECRET, _LONGEST_SECRET = 24, 64
"""Bytes, by the Standard Webhooks specification."""


def list_of(value: Any) -> Any:
    """A list of texts, or one text."""
    return (value,) if isinstance(value, str) else value


def check_apprise(value: Any) -> Any:
    """Check an Apprise URL. Error messages don't repeat it, since it is a secret."""
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*://\S+", value.strip()):
        raise ValueError("write an Apprise URL like mailto://… or slack://…; see the list of Apprise")
    return value.strip() if isinstance(value, str) else value


def bytes_of_secret(text: str) -> bytes:
    """The key of a Standard Webhooks secret: base64, usually after `whsec_`. Raises ValueError without showing it."""
    try:
        plain = text.removeprefix("whsec_").rstrip("=")
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _LEAST_SECRET <= len(key) <= _LONGEST_SECRET:
        raise ValueError(
            f"a secret is whsec_ and {_LEAST_SECRET} to {_LONGEST_SECRET} random bytes in base64; make one with: "
            "echo whsec_$(openssl rand -base64 32)"
        )
    return key


Texts = Annotated[tuple[str, ...], BeforeValidator(list_of)]
_Kinds = Annotated[tuple[EventKind, ...], BeforeValidator(list_of)]
_Entities = Annotated[tuple[Literal["region", "keystone", "metrics_database"], ...], BeforeValidator(list_of)]
_Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class Receiver(BaseModel):
    """A receiver of events. An empty filter lets everything through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="webhook", min_length=1, max_length=100, pattern=NAME)
    url: Annotated[SecretStr, BeforeValidator(check_url)] | None = None
    """A program that gets signed events, one per request."""
    apprise: Annotated[SecretStr, BeforeValidator(check_apprise)] | None = None
    """People who get one short message per poll."""
    secret: SecretStr | None = None
    """The secret for signing requests; two secrets, separated by a blank, while it is rotated."""
    secret_file: Path | None = None
    """A file with the secret, read again for every request."""
    sources: Texts = ()
    entities: _Entities = ()
    kinds: _Kinds = ()
    states: Texts = ()
    """Only events with one of these states before or after."""
    baseline: bool = False
    """True: events of a source's first complete answer are delivered, too."""
    timeout: _Duration = Field(
        default=timedelta(seconds=10), ge=timedelta(seconds=1), le=timedelta(seconds=30)
    )
    """How long one request may take in total."""
    give_up_after: _Duration = Field(
        default=timedelta(days=1), ge=timedelta(minutes=1), le=timedelta(days=30)
    )
    """How long an event is retried before it becomes a dead letter."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Receiver:
        if (self.url is None) == (self.apprise is None):
            raise ValueError("give it a url (of a webhook) or an apprise URL (of people), and not both")
        has_secret = self.secret is not None or self.secret_file is not None
        if self.apprise is not None and has_secret:
            raise ValueError("messages to people are not signed: remove secret")
        if self.url is not None and not has_secret:
            raise ValueError(
                "it has no secret to sign with; make one with: echo whsec_$(openssl rand -base64 32), and set "
                "COLLECTOR_WEBHOOK_SECRET_FILE, or secret_file in its table, to a file that holds it"
            )
        if self.secret is not None and self.secret_file is not None:
            raise ValueError(
                "secret and secret_file are both set, and only one can count: remove one of them"
            )
        if self.secret is not None:
            _keys_in(self.secret.get_secret_value())
        return self

    def keys(self) -> tuple[bytes, ...]:
        """The keys for signing requests. The file is read again each time, so it can be rotated. Raises
        SettingsError, which does not name the receiver.
        """
        if self.secret is not None:
            return _keys_in(self.secret.get_secret_value())
        if self.secret_file is None:
            return ()
        try:
            return _keys_in(text_in(self.secret_file))
        except UnicodeDecodeError:
            why = "it is not text"
        except OSError as error:
            why = error.strerror or "it can't be read"
        except ValueError as error:
            why = str(error)
        raise SettingsError(f"the secret file {shown_path(self.secret_file)} can't be used: {why}")

    def wants(
        self,
        kind: str,
        *,
        source: str,
        entity: str | None,
        states: Mapping[str, str | None],
        is_baseline: bool,
    ) -> bool:
        """True if an event passes all filters. `states`: those before and after."""
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.sources or source in self.sources)
            and (not self.entities or entity in self.entities)
            and (not self.states or any(state in self.states for state in states.values()))
            and (self.baseline or not is_baseline)
        )


def _keys_in(text: str) -> tuple[bytes, ...]:
    found = tuple(bytes_of_secret(word) for word in text.split())
    if not 1 <= len(found) <= 2:
        raise ValueError("write one secret, or the new and the old one while it is rotated")
    return found
