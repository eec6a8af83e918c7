"""Where each setting comes from, and what a process does not take over."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from collector.settings.loading import (
    ENVIRONMENT,
    FILES,
    OF_RECEIVER,
    PREFIX,
    VARIABLES,
    config_of,
    given_of,
    read_file,
)
from collector.settings.models import Settings, Source
from collector.spelling import shown_path


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a setting. Secrets are not shown."""

    variable: str
    value: str
    origin: str
    """environment, the settings file, or default."""


def _without_secrets(url: str) -> str:
    """A database URL without its secrets: scheme, and what follows the last @, without options."""
    scheme, is_url, rest = url.strip().partition("://")
    if not is_url or not re.fullmatch(r"[a-z][a-z0-9+]*", scheme, re.IGNORECASE):
        return "(not shown: not a URL)"
    before, _, options = rest.partition("?")
    shown = before.rpartition("@")[2]
    hosts = shown.partition("/")[0]
    if "@" in options or re.search(r":(?!\d{1,5}(?:,|\Z))", re.sub(r"\[[^]]*\]", "", hosts)):
        return f"{scheme}://(not shown: it can be read in several ways)"  # a part of a password may be there
    return f"{scheme}://{'…@' if '@' in before else ''}{shown}"


def _anchors_shown(value: Any) -> str:
    """Names and kinds of anchors, since their URLs may be secrets."""
    with suppress(ValidationError):
        return ", ".join(f"{each.name} ({each.kind})" for each in Settings(anchor=value).anchor)
    return "(not shown: not usable)"


def origins(environment: Mapping[str, str] | None = None, config: Path | None = None) -> list[Origin]:
    """Every setting of the process, and of the one source that variables describe, with its origin."""
    environment = os.environ if environment is None else environment
    config = config or config_of(environment)
    in_file = read_file(config) if config else {}
    defaults = Settings().model_dump() | Source().model_dump() | dict.fromkeys(OF_RECEIVER)
    found = []
    for variable, name in sorted(ENVIRONMENT.items()):
        if "sources" in in_file and name not in Settings.model_fields:
            continue  # each source has its own
        given = given_of(environment, variable)
        value = given or in_file.get(name, defaults[name])
        origin = "environment" if given else str(config) if name in in_file else "default"
        if name in ("api_key", "heartbeat_url", "webhook_url", "webhook_secret") and value:
            value = "(not shown)"
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if name in FILES and value:
            value = shown_path(Path(str(value)))
        if name == "anchor":
            value = _anchors_shown(value)
        if isinstance(value, frozenset):
            value = ",".join(str(number) for number in sorted(value)) or "none"
        if isinstance(value, tuple):
            value = ",".join(value)
        if isinstance(value, timedelta):
            value = f"{value.total_seconds():.10g}s"
        shown = str(value) if value is not None else "off" if name in ("keep", "verify_every") else ""
        if name == "database_url":
            shown = _without_secrets(shown)
        found.append(Origin(PREFIX + variable, shown, origin))
    return found


def overlooked(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that are not read because their prefix has a typing error, and what was meant."""
    names = sorted(os.environ if environment is None else environment)
    close = {name: difflib.get_close_matches(name.upper(), VARIABLES, n=1, cutoff=0.93) for name in names}
    return {name: meant[0] for name, meant in close.items() if meant and not name.startswith(PREFIX)}


def changes_that_wait(before: Settings, after: Settings) -> list[str]:
    """Variables of changed settings that a running process does not take over: all except those of sources."""
    return [
        PREFIX + variable
        for variable, name in ENVIRONMENT.items()
        if name in Settings.model_fields and getattr(before, name) != getattr(after, name)
    ] + (["webhooks"] if before.webhooks != after.webhooks else [])
