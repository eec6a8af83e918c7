"""What can be set, with defaults and limits."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from collector.anchors import Anchor, Mode, named, parse_anchors
from collector.errors import SettingsError
from collector.receivers import Receiver
from collector.spelling import (
    NAME,
    check_base_url,
    check_bind,
    check_networks,
    check_root_path,
    check_url,
    lower,
    parse_duration,
    parse_most,
    parse_names,
    parse_numbers,
    parse_off,
    parse_share,
    shown_path,
    text_in,
    usable_key,
)

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
                text = text_in(self.api_key_file)
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
