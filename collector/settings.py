"""All settings, from the environment or a TOML file; no other module reads either.

One source needs no file: COLLECTOR_… variables describe it. A TOML file (`--config`, COLLECTOR_CONFIG) has the same
names in lower case, `[[sources]]` tables for more sources, and `[[webhooks]]` tables for receivers of events. The
environment overrides the file, and a source's own table overrides both.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from collector.anchors import Anchor, Mode, named, parse_anchors
from collector.errors import SettingsError
from collector.nearest import nearest
from collector.receivers import Receiver
from collector.spelling import (
    NAME,
    check_base_url,
    check_bind,
    check_networks,
    check_root_path,
    check_url,
    in_words,
    is_service_link,
    lower,
    parse_duration,
    parse_most,
    parse_names,
    parse_numbers,
    parse_off,
    parse_share,
    shown_path,
    text_of,
    unquoted,
    usable_key,
)

PREFIX = "COLLECTOR_"

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["auto", "console", "json"]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
DurationOrOff = Annotated[timedelta | None, BeforeValidator(parse_off)]
BaseUrl = Annotated[str, BeforeValidator(check_base_url)]
Fraction = Annotated[float, BeforeValidator(parse_share)]
PageSizes = Annotated[frozenset[int], BeforeValidator(parse_numbers)]
Names = Annotated[tuple[str, ...], BeforeValidator(parse_names)]
Networks = Annotated[Names, AfterValidator(check_networks)]
Bind = Annotated[str, BeforeValidator(check_bind)]
RootPath = Annotated[str, BeforeValidator(check_root_path)]
Share = Annotated[int | str, BeforeValidator(parse_most)]
SecretUrl = Annotated[SecretStr, BeforeValidator(check_url)]
Access = Annotated[Literal["open", "token", "off"], BeforeValidator(lower)]
Anchors = Annotated[tuple[Anchor, ...], BeforeValidator(parse_anchors), AfterValidator(named)]


class Source(BaseModel):
    """A named place to poll."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="gcore", min_length=1, max_length=100, pattern=NAME)
    base_url: BaseUrl = "https://api.gcore.com"
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    auth_scheme: str = Field(default="apikey", max_length=20, pattern=r"^[A-Za-z][A-Za-z0-9\-]*$")
    interval: Duration = Field(default=timedelta(seconds=60), ge=timedelta(seconds=1), le=timedelta(days=1))
    confirmations: int = Field(default=3, ge=1, le=1000)
    """Complete answers that must agree before suspicious absences are believed."""
    max_missing: int = Field(default=1, ge=0, le=1_000_000)
    """Number of regions that may be missing at once without suspicion."""
    max_missing_share: Fraction = Field(default=0.1, ge=0, le=1)
    """Share of the present regions that may be missing at once, if that is more."""
    page_sizes: PageSizes = frozenset({10, 20, 25, 50, 100, 200, 250, 500, 1000})
    """An answer of such a length that misses any region may be one page of several."""
    page_factor: int = Field(default=3, ge=1, le=1000)
    """Factor on the confirmations for an answer that may be a page."""
    max_body: int = Field(default=32 * 1024 * 1024, ge=64 * 1024, le=2**30)
    """Maximum size of an answer in bytes, decompressed."""
    max_regions: int = Field(default=10_000, ge=1, le=1_000_000)
    """Maximum number of regions in an answer."""
    max_values: int = Field(default=2_000_000, ge=1000, le=200_000_000)
    """Maximum number of values in an answer."""

    @property
    def deadline(self) -> timedelta:
        """Time limit for all attempts of one poll: shorter than the interval, and than the lease."""
        return min(self.interval * 0.9, timedelta(seconds=45))

    def key(self) -> str:
        """The API key. Its file is read each time, so the key can be rotated. Raises SettingsError."""
        if self.api_key is not None:
            return usable_key(self.api_key.get_secret_value(), "COLLECTOR_API_KEY", self.auth_scheme)
        if self.api_key_file is not None:
            try:
                text = text_of(self.api_key_file.read_bytes())
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "not text"
                raise SettingsError(
                    f"the key file {shown_path(self.api_key_file)} can't be read: {why}"
                ) from None
            return usable_key(text, f"the key file {self.api_key_file}", self.auth_scheme)
        raise SettingsError(
            "there is no API key: set COLLECTOR_API_KEY, or COLLECTOR_API_KEY_FILE to a file that holds it"
        )


class Settings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr = SecretStr("sqlite:///collector.db")
    http_bind: Bind = "127.0.0.1:8080"
    """The address of the pages; `off`: none."""
    http_token_file: Path | None = None
    """Bearer tokens, one per line; read again when it changes."""
    http_users_file: Path | None = None
    """Lines of `user:password`, for browsers; read again when it changes."""
    http_unprotected: bool = False
    """True if an address that others can reach may be served without a token."""
    http_health: Access = "open"
    """Who may ask /healthz and /readyz: everybody, those with a token, or nobody."""
    http_metrics: Access = "token"
    """The same for /metrics. Without tokens, `token` means `open`."""
    http_hosts: Names = ()
    """Names under which browsers may reach the pages, besides localhost and all addresses."""
    http_trusted_proxies: Networks = ()
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted."""
    http_root_path: RootPath = ""
    """The path before ours under which a proxy serves the pages."""
    http_time_limit: Duration = Field(
        default=timedelta(seconds=10), ge=timedelta(seconds=1), le=timedelta(minutes=10)
    )
    """Time limit for the database queries of one page."""
    http_ready_max_bad: Share = "50%"
    """How many sources (a number or a percentage) may be bad before /readyz reports that this process is not ready."""
    http_max_requests: int = Field(default=4, ge=1, le=64)
    """Number of requests that are answered at once; eight times as many may wait, and others are refused."""
    keep: DurationOrOff = Field(default=None, ge=timedelta(days=1), le=timedelta(days=36_600))
    """How much history is kept; older history is pruned regularly. None: all of it."""
    heartbeat_url: SecretUrl | None = None
    """Called after each round in which every source was seen. A secret: anybody who knows it can fake a healthy
    service.
    """
    public_url: BaseUrl | None = None
    """The address at which people reach the pages; events link to it."""
    webhook_keep: Duration = Field(default=timedelta(days=30), ge=timedelta(hours=1), le=timedelta(days=3650))
    """How long events stay in the outbox after they were delivered or given up."""
    webhooks: tuple[Receiver, ...] = Field(default=(), max_length=50)
    """Receivers of events. Each has a thread of its own."""
    anchor: Anchors = Field(default=(), max_length=10)
    """Places outside the database that receive digests of it."""
    anchor_mode: Annotated[Mode, BeforeValidator(lower)] = "best-effort"
    """What a failed anchor means, for anchors without a mode of their own."""
    anchor_ca_file: Path | None = None
    """Trusted certificates for tokens, for authorities without a ca_file of their own."""
    anchor_every: Duration = Field(default=timedelta(hours=6), ge=timedelta(seconds=1), le=timedelta(days=1))
    """How often a stretch that continues is anchored."""
    anchor_pause: Duration = Field(default=timedelta(minutes=10), ge=timedelta(0), le=timedelta(days=1))
    """How old the last anchor must be before a new observation is anchored."""
    signing_key_file: Path | None = None
    """An Ed25519 key (PEM), with which anchors and printed heads are signed."""
    verify_every: DurationOrOff = Field(default=None, ge=timedelta(minutes=1), le=timedelta(days=366))
    """How often `collector run` verifies everything; None: never."""
    log_level: Annotated[Level, BeforeValidator(lower)] = "info"
    log_format: Annotated[Form, BeforeValidator(lower)] = "auto"
    """`auto`: text for people if stderr is a terminal, otherwise lines of JSON."""
    sources: tuple[Source, ...] = (Source(),)

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The anchors that are not off, each with its mode and, for an authority, its certificates."""
        found = []
        for each in self.anchor:
            of_all = self.anchor_ca_file if each.kind == "tsa" else None
            more = {"mode": each.mode or self.anchor_mode, "ca_file": each.ca_file or of_all}
            found.append(each.model_copy(update=more))
        return tuple(each for each in found if each.mode != "off")

    @property
    def required_anchors(self) -> tuple[str, ...]:
        """Names of the anchors that every source needs."""
        return tuple(each.name for each in self.anchors if each.mode == "required")


_OF_SOURCE = tuple(name for name in Source.model_fields if name != "name")
_OF_RECEIVER = ("webhook_url", "webhook_secret", "webhook_secret_file")
"""Settings of the one receiver that needs no table."""
_FILES = (
    "api_key_file",
    "http_token_file",
    "http_users_file",
    "webhook_secret_file",
    "secret_file",
    "anchor_ca_file",
    "signing_key_file",
)
_ENVIRONMENT = {
    **{name.upper(): name for name in Settings.model_fields if name not in ("sources", "webhooks")},
    **{name.upper(): name for name in _OF_RECEIVER},
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
VARIABLES = tuple(sorted([PREFIX + name for name in _ENVIRONMENT] + [PREFIX + "CONFIG"]))
"""Every environment variable that is read."""


def load(environment: Mapping[str, str] | None = None, config: Path | None = None) -> Settings:
    """Read and check all settings. Raises SettingsError, which names the setting and never a secret."""
    environment = os.environ if environment is None else environment
    _refuse_unknown(environment)
    config = config or _config_of(environment)
    general = _read_file(config) if config else {}
    listed, receivers = general.pop("sources", None), general.pop("webhooks", [])
    of_file = _placed({name: general.pop(name) for name in (*_OF_SOURCE, "name") if name in general}, config)
    of_receiver = _placed({name: general.pop(name) for name in _OF_RECEIVER if name in general}, config)
    general = _placed(general, config)
    of_environment: dict[str, Any] = {}
    of_process: dict[str, Any] = {}
    for variable, name in _ENVIRONMENT.items():
        value = _given(environment, variable)
        if value:
            (of_process if name in Settings.model_fields else of_environment)[name] = value
    given_receiver = _placed({n: of_environment.pop(n) for n in _OF_RECEIVER if n in of_environment}, None)
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
            f"{config}: every webhook needs a name of its own; a different case is not enough"
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


def _given(environment: Mapping[str, str], variable: str) -> str:
    return unquoted(environment.get(PREFIX + variable, ""))


def _config_of(environment: Mapping[str, str]) -> Path | None:
    return Path(name) if (name := _given(environment, "CONFIG")) else None


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """Refuse a variable that nothing reads as a typing error, unless a cluster made it."""
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in VARIABLES or is_service_link(PREFIX, name, environment):
            continue
        close = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
        hint = f"did you mean {close[0]}? " if close else ""
        raise SettingsError(f"unknown setting {name}; {hint}known are {', '.join(VARIABLES)}")


def overlooked(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that are not read because their prefix has a typing error, and what was meant."""
    names = sorted(os.environ if environment is None else environment)
    close = {name: difflib.get_close_matches(name.upper(), VARIABLES, n=1, cutoff=0.93) for name in names}
    return {name: meant[0] for name, meant in close.items() if meant and not name.startswith(PREFIX)}


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
    for setting in _FILES:
        name = given.get(setting)
        if not isinstance(name, str) or not name:
            continue
        path = Path(name)
        with suppress(RuntimeError):  # there is no home directory
            path = path.expanduser()
        found[setting] = path if config is None else config.parent / path
    return found


def changes_that_wait(before: Settings, after: Settings) -> list[str]:
    """Variables of changed settings that a running process does not take over: all except those of sources."""
    return [
        PREFIX + variable
        for variable, name in _ENVIRONMENT.items()
        if name in Settings.model_fields and getattr(before, name) != getattr(after, name)
    ] + (["webhooks"] if before.webhooks != after.webhooks else [])


def _override(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a source, with those of `upper` first.

    A key and a key file replace one another: the key of one platform must not go to another.
    """
    if "api_key" in upper or "api_key_file" in upper:
        lower = {name: value for name, value in lower.items() if name not in ("api_key", "api_key_file")}
    return {**lower, **upper}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text_of(path.read_bytes()))
    except OSError as error:
        raise SettingsError(f"the settings file {shown_path(path)} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}") from None


def _explain(error: ValidationError, config: Path | None, raw: Any) -> str:
    """The first mistake in words: which setting, what is wrong, and the value unless it may be a secret."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    name = next((part for part in reversed(path) if not part.isdigit()), "settings")
    variable = next((PREFIX + v for v, n in _ENVIRONMENT.items() if n == name), None)
    where = f"{variable} ({name} in {config})" if config and variable else variable or f"{name} in {config}"
    if path[0] == "webhooks":
        where = _in_a_receiver(path, name, raw)
    if first["type"] == "extra_forbidden":
        return f"{config}: there is no setting {name!r}{_meant(path)}"
    given: Any = raw
    for part in first["loc"]:
        given = given[part] if isinstance(part, int) or part in given else None
    said = _FORMS.get(name) if first["type"] == "string_pattern_mismatch" else None
    said = said or in_words(first["type"], first.get("ctx", {}), given)
    shown = f" {given!r}:" if name in _SHOWN and isinstance(given, str | int | float) else ""
    return f"{where}:{shown} {said or first['msg'].removeprefix('Value error, ')}"


_FORMS = {
    "name": "write letters, digits, dots, - and _, with single blanks between words",
    "auth_scheme": "write one word of letters, digits and -, without the key",
}
"""What a text has to look like, where a pattern says it."""


def _meant(path: list[str]) -> str:
    """What to write instead of a name in a settings file that is no setting: the place of the table, or a name."""
    *tables, name = path
    general = [*_ENVIRONMENT.values(), "sources", "webhooks"]
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
    if which is None and f"webhook_{name}" in _OF_RECEIVER:
        return f"{PREFIX}WEBHOOK_{name.upper()}, or {name} of the webhook without a name"
    which = which or "webhook"
    shown = which if isinstance(which, str) and name != "name" else f"number {int(path[1]) + 1}"
    return f"webhook {shown}" + (f": {name}" if len(path) > 2 else "")


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a setting. Secrets are not shown."""

    variable: str
    value: str
    origin: str
    """environment, the settings file, or default."""


def _without_secrets(url: str) -> str:
    """A database URL without its secrets: scheme, and what follows the last @, without options."""
    scheme, is_url, rest = url.partition("://")
    if not is_url or not re.fullmatch(r"[a-z][a-z0-9+]*", scheme, re.IGNORECASE):
        return "(not shown: not a URL)"
    return f"{scheme}://{'…@' if '@' in rest else ''}{rest.rpartition('@')[2].partition('?')[0]}"


def _anchors_shown(value: Any) -> str:
    """Names and kinds of anchors, since their URLs may be secrets."""
    with suppress(ValidationError):
        return ", ".join(f"{each.name} ({each.kind})" for each in Settings(anchor=value).anchor)
    return "(not shown: not usable)"


def origins(environment: Mapping[str, str] | None = None, config: Path | None = None) -> list[Origin]:
    """Every setting of the process, and of the one source that variables describe, with its origin."""
    environment = os.environ if environment is None else environment
    config = config or _config_of(environment)
    in_file = _read_file(config) if config else {}
    defaults = Settings().model_dump() | Source().model_dump() | dict.fromkeys(_OF_RECEIVER)
    found = []
    for variable, name in sorted(_ENVIRONMENT.items()):
        if "sources" in in_file and name not in Settings.model_fields:
            continue  # each source has its own
        given = _given(environment, variable)
        value = given or in_file.get(name, defaults[name])
        origin = "environment" if given else str(config) if name in in_file else "default"
        if name in ("api_key", "heartbeat_url", "webhook_url", "webhook_secret") and value:
            value = "(not shown)"
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if name in _FILES and value:
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
