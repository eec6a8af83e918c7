"""Secrets are replaced before anything is stored, hashed or printed.

A value goes by the *name* of its key, whatever it is, and a string by what it *contains*: userinfo or
secret parameters in URLs, and the key that asked. The marker keeps null apart, since "no password" is a
fact and not a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import Any

from collector.gcore.jsontext import Number

MARKER = "[redacted]"

_SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|key|credential|dsn|cookie|bearer|jwt|authorization|signature"
    r"|connection_?str|private_?pem|otp_?seed"
)
_NOT_SECRET = re.compile(r"keystone")
"""Taken out of a name before it is judged: `keystone_id` is no key."""

_USERINFO = re.compile(r"(//)[^\s/?#\"<>]*@")
_RUN = re.compile(r"[^\s\"<>]+")
_BEGIN_OF_USERINFO = re.compile(r"//[^\s/?#@:\"<>]*:(?!\d+(?:[/?#]|$))")
"""A password that itself contains / ? or #, as people paste them. `//host:5000/x@y` is left alone. Looked for in
two steps: one pattern for both would take a time that grows with the square of what a hostile answer sends."""
_WHOLE_URL = re.compile(
    r"\A(\s*[a-z][\w+.\-]*://)[^/?#@:]*:(?!\d+(?:[/?#]|\Z)).*@", re.IGNORECASE | re.DOTALL
)
"""A string that is nothing but a URL may have anything in its password, blanks and quotes too."""
_PARAMETER = re.compile(r"([?&;#]([\w.\-\[\]%]{1,64})=)([^&;#\s\"'<>]+)")
_SCHEME = re.compile(r"\b(apikey|bearer|basic)(\s+)[^\s,;\"'<>]+", re.IGNORECASE)

_PART_IN_EVIDENCE = 8
_PART_IN_MESSAGE = 4


def is_secret_name(name: str) -> bool:
    """Whether a key of this name holds a secret, judged without regard to case and separators."""
    plain = _NOT_SECRET.sub("", name.lower().replace("-", "_"))
    return bool(_SECRET_NAME.search(plain) or _SECRET_NAME.search(plain.replace("_", "")))


def redact(value: Any, secrets: Sequence[str] = (), documented: Set[str] = frozenset()) -> Any:
    """A parsed JSON value without its secrets.

    `secrets`: keys that must not stand in any string, number or name either, but for `documented` names,
    which a key may happen to contain.
    """
    if isinstance(value, dict):
        return {
            (scrub_parts(k, secrets, _PART_IN_EVIDENCE) if secrets and k not in documented else k): (
                MARKER if v is not None and is_secret_name(k) else redact(v, secrets, documented)
            )
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [redact(item, secrets, documented) for item in value]
    if isinstance(value, Number):
        return MARKER if any(contains_part(value.literal, secret) for secret in secrets) else value
    if isinstance(value, str):
        text = scrub_urls(value)
        return scrub_parts(text, secrets, _PART_IN_EVIDENCE) if secrets else text
    return value


def contains_part(text: str, secret: str, size: int = _PART_IN_EVIDENCE) -> bool:
    """Whether any `size` characters in a row of the secret stand in the text."""
    size = min(size, len(secret))
    return bool(size) and any(secret[i : i + size] in text for i in range(len(secret) - size + 1))


def scrub_urls(text: str) -> str:
    """Replace userinfo and secret parameters in anything that looks like a URL."""
    if "//" in text and "@" in text:
        text = _WHOLE_URL.sub(rf"\1{MARKER}@", text)
        text = _RUN.sub(_without_userinfo, _USERINFO.sub(rf"\1{MARKER}@", text))
    if "=" in text:
        text = _PARAMETER.sub(lambda m: m[1] + MARKER if is_secret_name(m[2]) else m[0], text)
    return text


def _without_userinfo(run: re.Match[str]) -> str:
    end = run[0].rfind("@") + 1
    begin = _BEGIN_OF_USERINFO.search(run[0], 0, end)
    return run[0] if begin is None else f"{run[0][: begin.start()]}//{MARKER}@{run[0][end:]}"


def scrub_parts(text: str, secrets: Sequence[str], size: int) -> str:
    """Replace every run that shares `size` or more characters in a row with a secret."""
    for secret in secrets:
        part = min(size, len(secret))
        if not contains_part(text, secret, part):
            continue
        hidden = bytearray(len(text))
        for piece in {secret[i : i + part] for i in range(len(secret) - part + 1)}:
            start = text.find(piece)
            while start >= 0:
                hidden[start : start + part] = b"\1" * part
                start = text.find(piece, start + 1)
        kept, end = [], 0
        for run in re.finditer(b"\1+", hidden):
            kept += [text[end : run.start()], MARKER]
            end = run.end()
        text = "".join([*kept, text[end:]])
    return text


def scrub_message(text: str, secrets: Sequence[str] = (), limit: int = 500) -> str:
    """An error message that may be stored and shown: no part of a key, one line, at most `limit` long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = scrub_parts(text, secrets, _PART_IN_MESSAGE)
    text = _SCHEME.sub(rf"\1\2{MARKER}", scrub_urls(text))
    return text if len(text) <= limit else text[: limit - 1] + "…"
