"""Parses settings as editors, shells and container engines write them."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import select
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from collector.errors import SettingsError

NAME = r"^[\w.\-]+( [\w.\-]+)*$"
"""Pattern for the names of sources and receivers: words with one blank between two of them."""
LISTING = "/cloud/v1/ai/regions"
"""What follows the base URL of a source."""
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_QUOTES = ('""', "''", "``", "“”", "‘’")
_UNSEEN = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
"""Zero-width characters, which copying from a page or saving with an editor leaves."""
_SCHEME_WORDS = ("apikey", "bearer", "token", "basic")
_ASSIGNMENT = re.compile(
    r"(export\s+)?((COLLECTOR|GCORE)_|X-)?API[_-]?KEY\s*[=:]\s*|Authorization\s*:\s*", re.IGNORECASE
)
_LIKE_A_KEY = re.compile(r"\$|\A[\w\-]{32,}\Z")
_OF_A_SERVICE = re.compile(
    r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_MOST_IN_FILE = 1 << 20
_LONGEST_WAIT = 5
"""Seconds."""
_ADDRESS = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)


def text_in(path: Path) -> str:
    """The text of a small file of settings or secrets.

    A pipe is waited for, but only for seconds, and not beyond a length, so that one file stops nothing else. Raises
    OSError or UnicodeDecodeError.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        waiting, end = select.poll(), time.monotonic() + _LONGEST_WAIT
        waiting.register(file, select.POLLIN)
        data = b""
        while len(data) <= _MOST_IN_FILE:
            if not waiting.poll(max(end - time.monotonic(), 0.0) * 1000):
                raise TimeoutError(errno.ETIMEDOUT, f"nothing came within {_LONGEST_WAIT} s")
            part = os.read(file, 65536)
            if not part:
                return text_of(data)
            data += part
    finally:
        os.close(file)
    raise OSError(errno.EFBIG, f"it is longer than {_MOST_IN_FILE >> 20} MiB")


def text_of(data: bytes) -> str:
    """A file as text: UTF-8, or what editors on Windows call Unicode; lines end with a newline.

    Raises UnicodeDecodeError.
    """
    is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff") and b"\0" in data
    text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def unquoted(value: str) -> str:
    """A variable without the quotes and the carriage return that an env file may leave."""
    value = value.removesuffix("\r")
    if len(value) > 1 and value[0] + value[-1] in _QUOTES:
        return value[1:-1]
    return value


def usable_key(text: str, where: str, scheme: str) -> str:
    """The key itself, from what was given. `scheme`: the word that is sent before it.

    Only what a header can't carry is refused, since the forms of keys are not documented. Raises SettingsError.
    """
    key, before = text, None
    while key != before:
        before = key
        key = unquoted(key.strip().strip(_UNSEEN))
        if named := _ASSIGNMENT.match(key):
            key = key[named.end() :]
        word, *rest = key.split(None, 1)[:2] or [""]
        if rest and word.casefold() == scheme.casefold():
            key = rest[0]
        elif rest and word.casefold() in _SCHEME_WORDS:
            raise SettingsError(
                f"{where} begins with the word {word}: write the key alone, and the word as COLLECTOR_AUTH_SCHEME"
            )
    if not key:
        raise SettingsError(f"{where} is empty")
    if not key.isascii() or not key.isprintable():
        raise SettingsError(f"{where} holds characters that can't be sent: a key is one line of ASCII")
    return key


def is_service_link(prefix: str, name: str, environment: Mapping[str, str]) -> bool:
    """True if Kubernetes or Docker set this variable, because a service has a name that begins like ours."""
    rest = name.removeprefix(prefix.removesuffix("_"))
    if _OF_A_SERVICE.search(rest):
        return True
    return bool(rest.endswith("_PORT") and _ADDRESS.match(environment[name]))


def parse_duration(value: Any) -> Any:
    """`60s`, `5m`, `1h30m`, or a number of seconds."""
    if isinstance(value, timedelta):
        return value
    text = "" if isinstance(value, bool) else str(value).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        text += "s"
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|[smhd]))+", text):
        raise ValueError("write a duration like 60s, 5m, 1h30m or 400d")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", text)
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError("that is too long for a calendar") from None


def parse_off(value: Any) -> Any:
    """A duration, or `off`."""
    is_off = value is None or (isinstance(value, str) and value.strip().lower() == "off")
    try:
        return None if is_off else parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}, or off") from None


def parse_share(value: Any) -> Any:
    """A number from 0 to 1, or a percentage: `10%`."""
    percent = (
        re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*", value) if isinstance(value, str) else None
    )
    return float(percent[1]) / 100 if percent else value


def parse_most(value: Any) -> Any:
    """`5` or `10%`, with any blanks around it."""
    return most_of(str(value).strip())


def most_of(text: str) -> int | str:
    """A number (5) or a percentage (`10%`). Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,6}", text):
        return int(text)
    if not (re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?%", text) and float(text[:-1]) <= 100):
        raise ValueError("write a number like 5, or a share like 10%")
    return text


def parse_names(value: Any) -> Any:
    """`one, two`, or a list of texts."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip().lower() for part in value.split(",") if part.strip())


def parse_numbers(value: Any) -> Any:
    """`10, 20, 50`, or a list of whole numbers; `none` is the empty list."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if parts == ["none"]:
        return ()
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise ValueError("write whole numbers like 10,20,50, or none")
    return [int(part) for part in parts]


def lower(value: Any) -> Any:
    """The text in lower case: `INFO` becomes `info`."""
    return value.strip().lower() if isinstance(value, str) else value


def check_networks(values: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and networks, like 10.0.0.0/8."""
    for value in values:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is neither an address nor a network like 10.0.0.0/8") from None
    return values


def check_bind(value: Any) -> Any:
    """`127.0.0.1:8080`, `[::1]:8080`, a name and a port, or `off`."""
    text = value.strip() if isinstance(value, str) else value
    if not isinstance(text, str) or text.lower() == "off":
        return text.lower() if isinstance(text, str) else text
    host, _, port = text.rpartition(":")
    is_host = bool(re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+", host))
    if not is_host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("write an address and a port like 127.0.0.1:8080 or [::1]:8080, or off")
    return text


def check_base_url(value: Any) -> Any:
    """An http(s) URL without userinfo, query or fragment, and without a slash at the end."""
    if not isinstance(value, str):
        return value
    if re.search(r"[\s\x00-\x1f\x7f]", value.strip()):
        raise ValueError("a base URL must not contain blanks")
    try:
        parts = urlsplit(value.strip())
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise ValueError("that is not a host name; write a URL like https://api.gcore.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write a URL like https://api.gcore.com")
    if "@" in parts.netloc or "%40" in parts.netloc:
        raise ValueError("a base URL must not contain a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("a base URL must have no ? and no #")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("the port is not a number from 0 to 65535") from None
    if parts.path.rstrip("/").endswith(LISTING):
        raise ValueError(f"leave out {LISTING}, which is added to a base URL")
    host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


def check_url(value: Any) -> Any:
    """A URL to call. Error messages don't repeat it, since it may be a secret."""
    if not isinstance(value, str):
        return value
    if not is_url(value.strip()):
        raise ValueError("write a URL like https://host.example/path")
    return value.strip()


def is_url(text: str) -> bool:
    """True for an http(s) URL to which a request can be sent."""
    if not re.fullmatch(r"https?://[^\s\x00-\x1f\x7f\ud800-\udfff]+", text):
        return False
    try:
        parts = urlsplit(text)
        return parts.port != 0 and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        return False


def check_root_path(value: Any) -> Any:
    """`/collector`, without a slash at the end."""
    text = value.strip().rstrip("/") if isinstance(value, str) else value
    if isinstance(text, str) and text and not re.fullmatch(r"(/[A-Za-z0-9._~\-]+)+", text):
        raise ValueError("write a path like /collector")
    return text


def in_words(kind: str, facts: Mapping[str, Any], given: Any) -> str | None:
    """What is wrong with a value, by pydantic's name for it; None if its own words are good enough.

    `facts`: what pydantic adds to the name. `given`: the value.
    """
    if kind in ("greater_than_equal", "less_than_equal"):
        said = f"must be at least {facts['ge']}" if "ge" in facts else f"must be at most {facts['le']}"
        is_bare = isinstance(facts.get("ge", facts.get("le")), str) and not re.search("[a-z]", str(given))
        return f"{said}; a number without a unit means seconds" if is_bare else said
    if kind == "literal_error":
        return f"must be {facts['expected']}"
    if kind.startswith(("int_", "bool_", "float_", "string_", "list_", "tuple_", "frozen_set_")):
        return _FORMS.get(kind) or _FORMS.get(kind.partition("_")[0])
    return {"missing": "is missing"}.get(kind)


_FORMS = {
    "int": "write a whole number, like 1000",
    "bool": "write yes or no; in a settings file, true or false without quotes",
    "float": "write a number like 0.1",
    "string_type": "write a text, in quotes",
    "list": 'write a list, like ["a", "b"]',
    "tuple": 'write a list, like ["a", "b"]',
}


def shown_path(path: Path) -> str:
    """A path, unless it may be a secret that was given in place of a file name."""
    with suppress(OSError, ValueError):
        is_in_a_folder = path.name != str(path) and path.parent.is_dir()
        is_a_name = is_in_a_folder and not _LIKE_A_KEY.search(path.name)
        if is_a_name or path.suffix in (".toml", ".key", ".txt") or path.exists():
            return str(path)
    return "(not shown: there is no such file; is it the key itself?)"
