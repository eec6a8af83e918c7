"""Settings from the environment and a TOML file, checked, with each mistake in words."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from collector.anchors import Anchor
from collector.errors import SettingsError
from collector.nearest import nearest
from collector.printable import brief
from collector.receivers import Receiver
from collector.settings.models import Settings, Source
from collector.spelling import in_words, is_service_link, shown_path, text_in, unquoted

PREFIX = "COLLECTOR_"

_OF_SOURCE = tuple(name for name in Source.model_fields if name != "name")
OF_RECEIVER = ("webhook_url", "webhook_secret", "webhook_secret_file")
"""Settings of the one receiver that needs no table."""
FILES = (
    "api_key_file",
    "http_token_file",
    "http_users_file",
    "webhook_secret_file",
    "secret_file",
    "anchor_ca_file",
    "signing_key_file",
)
ENVIRONMENT = {
    **{name.upper(): name for name in Settings.model_fields if name not in ("sources", "webhooks")},
    **{name.upper(): name for name in OF_RECEIVER},
    "SOURCE": "name",
    **{name.upper(): name for name in _OF_SOURCE},
}
_SHOWN = (
    "name",
    "interval",
    "confirmations",
    "max_missing",
    "max_missing_share",
    "page_sizes",
    "page_factor",
    "max_body",
    "max_regions",
    "max_values",
    "http_bind",
    "http_unprotected",
    "http_health",
    "http_metrics",
    "http_hosts",
    "http_trusted_proxies",
    "http_root_path",
    "http_time_limit",
    "http_ready_max_bad",
    "http_max_requests",
    "webhook_keep",
    "entities",
    "kinds",
    "baseline",
    "timeout",
    "give_up_after",
    "anchor_mode",
    "anchor_every",
    "anchor_pause",
    "verify_every",
    "keep",
    "log_level",
    "log_format",
)
"""Settings whose value may be repeated in an error; any other may be a secret in the wrong place."""
_LONGEST_SHOWN = 100
_LIKE_A_KEY = re.compile(r"\w\$\S{6,}|(?=(?:[^a-zA-Z]*[a-zA-Z]){4})(?=(?:\D*\d){4})[\w.\-]{24,}")
"""A key that was put into the wrong setting is not shown."""
_FORMS = {
    "name": "write letters, digits, dots, - and _, with single spaces between words",
    "auth_scheme": "write one word of letters, digits and -, without the key",
}
"""What a text has to look like, where a pattern says it."""
VARIABLES = tuple(sorted([PREFIX + name for name in ENVIRONMENT] + [PREFIX + "CONFIG"]))
"""Every environment variable that is read."""


def load(environment: Mapping[str, str] | None = None, config: Path | None = None) -> Settings:
    """Read and check all settings. Raises SettingsError, which names the setting and never a secret."""
    environment = os.environ if environment is None else environment
    _refuse_unknown(environment)
    config = config or config_of(environment)
    general = read_file(config) if config else {}
    listed, receivers = general.pop("sources", None), general.pop("webhooks", [])
    of_file = _placed({name: general.pop(name) for name in (*_OF_SOURCE, "name") if name in general}, config)
    of_receiver = _placed({name: general.pop(name) for name in OF_RECEIVER if name in general}, config)
    general = _placed(general, config)
    of_environment: dict[str, Any] = {}
    of_process: dict[str, Any] = {}
    for variable, name in ENVIRONMENT.items():
        value = given_of(environment, variable)
        if value:
            (of_process if name in Settings.model_fields else of_environment)[name] = value
    given_receiver = _placed({n: of_environment.pop(n) for n in OF_RECEIVER if n in of_environment}, None)
    general["webhooks"] = _receivers(of_receiver, given_receiver, receivers, config)
    general |= _placed(of_process, None)
    general["sources"] = _sources(of_file, of_environment, listed, config)
    try:
        settings = Settings.model_validate(general)
    except ValidationError as error:
        raise SettingsError(_explain(error, config, general)) from None
    names = [source.name.casefold() for source in settings.sources]
    if not names:
        raise SettingsError(f"{config}: sources is empty: write a table that begins with [[sources]]")
    if len(set(names)) != len(names):
        raise SettingsError(f"{config}: every source needs a name of its own; a different case is not enough")
    names = [receiver.name.casefold() for receiver in settings.webhooks]
    if len(set(names)) != len(names):
        raise SettingsError(
            f"{config}: every receiver needs a name of its own; a different case is not enough"
        )
    return settings


def _sources(
    of_file: dict[str, Any], of_environment: dict[str, Any], listed: Any, config: Path | None
) -> list[dict[str, Any]]:
    """The one source that needs no table, or those of the tables."""
    _refuse_two_keys(of_environment, f"{PREFIX}API_KEY", f"{PREFIX}API_KEY_FILE")
    single = _override(of_file, _placed(of_environment, None))
    if listed is None:
        return [single]
    tables = _tables(listed, "source", config)
    for name, variable in (("name", "SOURCE"), ("base_url", "BASE_URL")):
        if name in of_environment:
            raise SettingsError(
                f"{PREFIX}{variable} describes the only source, but {config} has [[sources]]: "
                f"remove the variable, and write {name} into the tables"
            )
    return [_override(single, _placed(each, config)) for each in tables]


def _receivers(
    of_file: dict[str, Any], of_environment: dict[str, Any], listed: Any, config: Path | None
) -> list[dict[str, Any]]:
    """The one receiver that needs no table, and those of the tables."""
    tables = _tables(listed, "webhook", config)
    pair = ("webhook_secret", "webhook_secret_file")
    if set(pair) & of_environment.keys():
        of_file = {name: value for name, value in of_file.items() if name not in pair}
    single = of_file | of_environment
    found = [{name.removeprefix("webhook_"): value for name, value in single.items()}] if single else []
    return [*found, *(_placed(each, config) for each in tables)]


def _tables(listed: Any, what: str, config: Path | None) -> list[dict[str, Any]]:
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise SettingsError(f"{config}: write each {what} as a table that begins with [[{what}s]]")
    return listed


def given_of(environment: Mapping[str, str], variable: str) -> str:
    return unquoted(environment.get(PREFIX + variable, ""))


def config_of(environment: Mapping[str, str]) -> Path | None:
    return Path(name) if (name := given_of(environment, "CONFIG")) else None


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """Refuse a variable that nothing reads as a typing error, unless a cluster made it."""
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in VARIABLES or is_service_link(PREFIX, name, environment):
            continue
        close = nearest(name.removeprefix(PREFIX), (known.removeprefix(PREFIX) for known in VARIABLES), 1)
        hint = f"did you mean {PREFIX}{close[0]}? " if close else ""
        raise SettingsError(f"unknown setting {name}; {hint}known are {', '.join(VARIABLES)}")


def _refuse_two_keys(given: Mapping[str, Any], key: str, file: str) -> None:
    if given.get("api_key") and given.get("api_key_file"):
        raise SettingsError(f"{key} and {file} are both set, and only one can count: remove one of them")


def _placed(given: dict[str, Any], config: Path | None) -> dict[str, Any]:
    """Settings with absolute file names: `~` is the home directory, and a relative name in a settings file is
    relative to that file, wherever the process was started.
    """
    if config is not None:
        _refuse_two_keys(given, f"{config}: api_key", "api_key_file")
    found = dict(given)
    for setting in FILES:
        name = given.get(setting)
        if not isinstance(name, str) or not name:
            continue
        if "\0" in name:
            raise SettingsError(f"{setting} is not the name of a file: it contains a NUL character")
        path = Path(name)
        with suppress(RuntimeError):  # there is no home directory
            path = path.expanduser()
        found[setting] = path if config is None else config.parent / path
    return found


def _override(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a source, with those of `upper` first.

    A key and a key file replace one another: the key of one platform must not go to another.
    """
    if "api_key" in upper or "api_key_file" in upper:
        lower = {name: value for name, value in lower.items() if name not in ("api_key", "api_key_file")}
    return {**lower, **upper}


def read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text_in(path))
    except OSError as error:
        raise SettingsError(f"the settings file {shown_path(path)} can't be read: {error.strerror}") from None
    except RecursionError:
        raise SettingsError(f"the settings file {path} is not TOML: it is nested too deeply") from None
    except ValueError as error:  # also for a number with thousands of digits
        raise SettingsError(f"the settings file {path} is not TOML: {brief(str(error), 200)}") from None


def _explain(error: ValidationError, config: Path | None, raw: Any) -> str:
    """The first mistake in words: which setting, what is wrong, and the value unless it may be a secret."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    name = next((part for part in reversed(path) if not part.isdigit()), "settings")
    variable = next((PREFIX + v for v, n in ENVIRONMENT.items() if n == name), None)
    where = f"{variable} ({name} in {config})" if config and variable else variable or f"{name} in {config}"
    if path[0] == "webhooks":
        where = _in_a_receiver(path, name, raw)
    if first["type"] == "extra_forbidden":
        return f"{config}: there is no setting {name!r}{_meant(path)}"
    given: Any = raw
    for part in first["loc"]:
        is_inside = isinstance(given, dict | list | tuple) and (isinstance(part, int) or part in given)
        given = given[part] if is_inside else given  # one text may stand for a list
    said = _FORMS.get(name) if first["type"] == "string_pattern_mismatch" else None
    said = said or in_words(first["type"], first.get("ctx", {}), given)
    shown = (
        f" {brief(repr(given), _LONGEST_SHOWN)}:"
        if name in _SHOWN and isinstance(given, str | int | float) and not _LIKE_A_KEY.search(str(given))
        else ""
    )
    return f"{where}:{shown} {said or first['msg'].removeprefix('Value error, ')}"


def _meant(path: list[str]) -> str:
    """What to write instead of a name in a settings file that is no setting: the place of the table, or a name."""
    *tables, name = path
    general = [*ENVIRONMENT.values(), "sources", "webhooks"]
    known: Iterable[str] = general
    for table, model in (("sources", Source), ("webhooks", Receiver), ("anchor", Anchor)):
        if table in tables:
            known = model.model_fields
            if name in general:
                return f" in [[{table}]]: write it above the tables"
    close = nearest(name.lower().removeprefix(PREFIX.lower()), known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(set(known)))}"


def _in_a_receiver(path: list[str], name: str, raw: Any) -> str:
    """Where a mistake about a receiver is."""
    if len(path) < 2:
        return "webhooks"
    which = raw["webhooks"][int(path[1])].get("name")
    if which is None and f"webhook_{name}" in OF_RECEIVER:
        return f"{PREFIX}WEBHOOK_{name.upper()}, or {name} of the receiver without a name"
    which = which or "webhook"
    shown = which if isinstance(which, str) and name != "name" else f"number {int(path[1]) + 1}"
    return f"receiver {shown}" + (f": {name}" if len(path) > 2 else "")
