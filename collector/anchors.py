"""Anchors in the settings: places outside the database that receive digests of a history.

file:/mnt/other/heads           a line is appended to this file
https://hooks.example/heads     the line is sent by POST
syslog: or syslog://host:514    the line is a message to this machine's syslog, or another's (UDP; syslog+tcp: TCP)
tsa+https://tsa.example/tsr     a time-stamping authority (RFC 3161) signs the value and its time
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from collector.spelling import is_url

Kind = Literal["file", "webhook", "syslog", "tsa"]
Mode = Literal["off", "best-effort", "required"]


class Anchor(BaseModel):
    """One place that receives digests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", max_length=100, pattern=r"^[\w.\-]*$")
    """The name under which it is recorded; its kind if empty."""
    to: SecretStr
    """Its URL, which may be a secret."""
    mode: Mode | None = None
    """None: that of all anchors."""
    ca_file: Path | None = None
    """Trusted certificates (PEM) for the tokens of a time-stamping authority."""

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_a_place(self) -> Anchor:
        _check_place(self.to.get_secret_value())
        if self.ca_file is not None and self.kind != "tsa":
            raise ValueError("ca_file belongs to a time-stamping authority (tsa+https://…)")
        if self.ca_file is not None and not self.ca_file.expanduser().is_absolute():
            raise ValueError("write the absolute path of ca_file")
        return self

    @property
    def kind(self) -> Kind:
        scheme = self.to.get_secret_value().partition(":")[0].lower()
        if scheme.startswith("tsa"):
            return "tsa"
        return "file" if scheme == "file" else "syslog" if scheme.startswith("syslog") else "webhook"

    @property
    def place(self) -> str:
        """The URL to call, or the path of the file; empty for this machine's syslog. May be a secret."""
        text = self.to.get_secret_value()
        if self.kind == "file":
            return str(Path(re.sub("^file:(//)?", "", text, flags=re.IGNORECASE)).expanduser())
        if self.kind == "tsa":
            return text[len("tsa+") :]
        return "" if text.lower() in ("syslog:", "syslog") else text

    @property
    def path(self) -> Path | None:
        """The path of a file anchor; None for others."""
        return Path(self.place) if self.kind == "file" else None


def _check_place(text: str) -> None:
    """Check the place. Error messages don't repeat the text, since it may be a secret."""
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme == "file" and colon:
        if not re.match(r"(//)?(/|~)", rest):
            raise ValueError("write the absolute path of a file, like file:/mnt/other/heads")
    elif scheme in ("http", "https", "tsa+http", "tsa+https"):
        if not is_url(f"https:{rest}"):
            raise ValueError("write a URL like https://hooks.example/heads or tsa+https://tsa.example/tsr")
    elif scheme in ("syslog", "syslog+tcp"):
        parts = urlsplit(text)
        if rest and not (parts.hostname and _has_port(text)):
            raise ValueError(
                "write syslog: for this machine's, or host and port like syslog://logs.example:514"
            )
    else:
        raise ValueError(
            "an anchor is a file (file:/mnt/other/heads), a webhook (https://…), syslog (syslog:, syslog://host:514) "
            "or a time-stamping authority (tsa+https://…)"
        )


def _has_port(text: str) -> bool:
    try:
        return urlsplit(text).port is not None
    except ValueError:
        return False


def parse_anchors(value: Any) -> Any:
    """Places separated by blanks, or a list of places and tables."""
    return value.split() if isinstance(value, str) else value


def named(anchors: tuple[Anchor, ...]) -> tuple[Anchor, ...]:
    """The anchors with distinct names: the given one, or the kind, numbered from the second of a kind on."""
    taken = {each.name for each in anchors if each.name}
    if len(taken) < sum(bool(each.name) for each in anchors):
        raise ValueError("two anchors have the same name")
    found = []
    for each in anchors:
        name, number = each.name or each.kind, 1
        while not each.name and name in taken:
            number += 1
            name = f"{each.kind}-{number}"
        taken.add(name)
        found.append(each.model_copy(update={"name": name}))
    return tuple(found)
