"""Secrets are replaced before anything is stored, hashed or printed.

A value goes by the *name* of its key, whatever it is, and a string by what it *contains*: userinfo or
secret parameters in URLs, and the key that asked. The marker keeps null apart, since "no password" is a
fact and not a secret.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Sequence, Set
from typing import Any
from urllib.parse import quote

from collector.gcore.jsontext import Number

MARKER = "[redacted]"

_SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|key|credential|dsn|cookie|bearer|jwt|authorization|signature"
    r"|connection_?str|private_?pem|otp_?seed|authori[sz]|session_?id|(?:^|(?<!has)_)(?:auth|otp|psk|pw)$|[a-z]pw$"
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
_MEMBER = re.compile(r"(\\{0,8}[\"'])([\w.\- ]{1,64})\1\s{0,8}:\s{0,8}")
"""The name of a member of JSON that stands in a text, or of what looks like it; perhaps escaped once more."""
_BRACKET = re.compile(r"[\[\]{}]")
_BARE = re.compile(r"[^\s,;}\])\"'\\]+")
_SETTING = re.compile(r"(?:(?<=\s)|\A)([\w.\-]{1,64}\s?=\s?)('(?:[^'\\]|\\.)*'|[^\s'\"]+)")
"""One of several `name=value` in a row, as in the connection string of a database."""
_NAMING = frozenset(("name", "key", "field", "header", "parameter", "variable", "option"))
_NAMED = frozenset(("value", "values", "val", "default", "content"))
"""`{"name": "password", "value": …}`: the name of a secret need not be the name of its field."""
_SCHEME = re.compile(r"\b(apikey|bearer|basic)(\s+)[^\s,;\"'<>]+", re.IGNORECASE)

_LEAST_IN_BASE64 = 12
"""Shorter keys in base64 are too like other text."""
_URL_SAFE = str.maketrans("+/", "-_")

_PART_IN_EVIDENCE = 8
_PART_IN_MESSAGE = 4


def is_secret_name(name: str) -> bool:
    """Whether a key of this name holds a secret, judged without regard to case and separators."""
    name = name if name.isascii() else unicodedata.normalize("NFKC", name)
    plain = _NOT_SECRET.sub("", name.lower().replace("-", "_"))
    return bool(_SECRET_NAME.search(plain) or _SECRET_NAME.search(plain.replace("_", "")))


def redact(value: Any, secrets: Sequence[str] = (), documented: Set[str] = frozenset()) -> Any:
    """A parsed JSON value without its secrets.

    `secrets`: keys that must not stand in any string, number or name either, but for `documented` names,
    which a key may happen to contain.
    """
    if isinstance(value, dict):
        hidden = _NAMED if _names_a_secret(value) else ()
        return {
            (scrub_parts(k, secrets, _PART_IN_EVIDENCE) if secrets and k not in documented else k): (
                MARKER
                if v is not None and (is_secret_name(k) or k.lower() in hidden)
                else redact(v, secrets, documented)
            )
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [redact(_pair(item), secrets, documented) for item in value]
    if isinstance(value, Number):
        return MARKER if any(contains_part(value.literal, secret) for secret in secrets) else value
    if isinstance(value, str):
        text = scrub_urls(value)
        return scrub_parts(text, secrets, _PART_IN_EVIDENCE) if secrets else text
    return value


def _names_a_secret(value: dict[str, Any]) -> bool:
    return any(k.lower() in _NAMING and _is_name_of_secret(v) for k, v in value.items())


def _pair(item: Any) -> Any:
    """A pair in a list of pairs, as headers are written: without its value where the first is a secret's name."""
    is_secret = isinstance(item, list) and len(item) == 2 and _is_name_of_secret(item[0])
    return [item[0], MARKER] if is_secret and item[1] is not None else item


def _is_name_of_secret(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 64 and is_secret_name(value)


def spellings(secrets: Sequence[str]) -> tuple[str, ...]:
    """Keys as they are, and as they stand in URLs and, whatever stands before them, in base64."""
    found = dict.fromkeys(secrets)
    for secret in secrets:
        found[quote(secret, safe="")] = None
        if len(secret) >= _LEAST_IN_BASE64:
            for before, mixed in ((0, 0), (1, 2), (2, 3)):
                text = b64encode(b"-" * before + secret.encode()).decode().rstrip("=")[mixed:-1]
                found |= {text: None, text.translate(_URL_SAFE): None}
    return tuple(found)


def contains_part(text: str, secret: str, size: int = _PART_IN_EVIDENCE) -> bool:
    """Whether any `size` characters in a row of the secret stand in the text."""
    size = min(size, len(secret))
    return bool(size) and any(secret[i : i + size] in text for i in range(len(secret) - size + 1))


def scrub_urls(text: str) -> str:
    """Replace userinfo and secret parameters in anything that looks like a URL, a connection string or JSON."""
    if "//" in text and "@" in text:
        text = _WHOLE_URL.sub(rf"\1{MARKER}@", text)
        text = _RUN.sub(_without_userinfo, _USERINFO.sub(rf"\1{MARKER}@", text))
    if "=" in text:
        text = _PARAMETER.sub(lambda m: m[1] + MARKER if is_secret_name(m[2]) else m[0], text)
        if len(_SETTING.findall(text)) > 1:
            text = _SETTING.sub(lambda m: m[1] + MARKER if is_secret_name(m[1].rstrip("= ")) else m[0], text)
    return _without_members(text) if ":" in text else text


def _without_members(text: str) -> str:
    """A text without the values of members with a secret's name, where JSON stands in it."""
    kept, end = [], 0
    for member in _MEMBER.finditer(text):
        begin = member.end()
        if member.start() < end or not is_secret_name(member[2]) or text.startswith("null", begin):
            continue
        kept += [text[end:begin], MARKER]
        end = _end_of_value(text, begin)
    return "".join([*kept, text[end:]])


def _end_of_value(text: str, begin: int) -> int:
    """Where a value of JSON in a text ends; the text's end where that can't be told."""
    if text[begin : begin + 1] in ("{", "["):
        depth = 0
        for bracket in _BRACKET.finditer(text, begin):
            depth += 1 if bracket[0] in "[{" else -1
            if not depth:
                return bracket.end()
        return len(text)
    if (quotes := re.compile(r"\\{0,8}[\"']").match(text, begin)) is not None:
        closing = re.compile(rf"(?<!\\){re.escape(quotes[0])}").search(text, quotes.end())
        return closing.end() if closing else len(text)
    bare = _BARE.match(text, begin)
    return bare.end() if bare else begin


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
    text = scrub_parts(text, spellings(secrets), _PART_IN_MESSAGE)
    text = _SCHEME.sub(rf"\1\2{MARKER}", scrub_urls(text))
    return text if len(text) <= limit else text[: limit - 1] + "…"
