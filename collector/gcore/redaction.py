"""Secrets are replaced before anything is stored, hashed or printed.

A value goes by the *name* of its key, whatever it is (`secret_names`); a string by what it *contains* (`secret_texts`),
and wherever a part of the key that asked stands in it (`secret_keys`). The marker keeps null apart, since "no password"
is a fact and not a secret.

What is stored is not redacted again: newer rules change the evidence of later answers only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import Any

from collector.gcore import jsontext
from collector.gcore.jsontext import Number
from collector.gcore.secret_keys import PART_IN_EVIDENCE, PART_IN_MESSAGE, Keys, Parts, keys_of, without
from collector.gcore.secret_names import is_named, is_naming, is_secret_name
from collector.gcore.secret_texts import MARKER, scrub_text

__all__ = [
    "MARKER",
    "contains_part",
    "is_secret_name",
    "redact",
    "scrub_message",
    "scrub_parts",
    "scrub_text",
]

_LONGEST_NAME = 64
_LONGEST_JSON = 64 * 1024
"""Longer JSON in a string is judged as other text: to read it costs a hundred times its length in memory."""
_OPTION = re.compile(r"--?[A-Za-z][\w.\-]{0,60}")


def redact(value: Any, secrets: Sequence[str] = (), documented: Set[str] = frozenset()) -> Any:
    """A parsed JSON value without its secrets.

    `secrets`: keys that must not stand in any string, number or name either, but for `documented` names,
    which a key may happen to contain.
    """
    return _redact(value, keys_of(tuple(secrets), PART_IN_EVIDENCE) if any(secrets) else None, documented)


def _redact(value: Any, keys: Keys | None, documented: Set[str]) -> Any:
    if isinstance(value, dict):
        return _redacted_object(value, keys, documented)
    if isinstance(value, list):
        return _redacted_list(value, keys, documented)
    if isinstance(value, Number):
        return MARKER if keys is not None and keys.stand_in(value.literal) else value
    if isinstance(value, str):
        return _redacted_text(value, keys, documented)
    return value


def _redacted_object(value: dict[str, Any], keys: Keys | None, documented: Set[str]) -> dict[str, Any]:
    names_a_secret = any(_is_name_of_secret(v) and is_naming(k) for k, v in value.items())
    redacted: dict[str, Any] = {}
    for k, v in value.items():
        is_hidden = v is not None and (is_secret_name(k) or (names_a_secret and is_named(k)))
        name = k if k in documented else _redacted_name(k, keys)
        while name in redacted:  # two that differed in their secrets only
            name += "'"
        redacted[name] = MARKER if is_hidden else _redact(v, keys, documented)
    return redacted


def _redacted_name(name: str, keys: Keys | None) -> str:
    name = name if name.isidentifier() else scrub_text(name)
    return name if keys is None else keys.scrub(name)


def _redacted_list(value: list[Any], keys: Keys | None, documented: Set[str]) -> list[Any]:
    redacted = [_redact(_pair(item), keys, documented) for item in value]
    for at, item in enumerate(value[:-1]):
        # The arguments of a command: ["--password", "…"]
        if (
            isinstance(item, str)
            and _OPTION.fullmatch(item)
            and is_secret_name(item)
            and value[at + 1] is not None
        ):
            redacted[at + 1] = MARKER
    return redacted


def _pair(item: Any) -> Any:
    """A pair in a list of pairs, as headers are written: without its value where the first is a secret's name."""
    if not (isinstance(item, list) and 2 <= len(item) <= 3 and _is_name_of_secret(item[0])):
        return item
    return [item[0], *(None if v is None else MARKER for v in item[1:])]


def _is_name_of_secret(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_NAME and is_secret_name(value)


def _redacted_text(text: str, keys: Keys | None, documented: Set[str]) -> str:
    if text[:1] in '{["' and text[-1:] in '}]"' and 2 < len(text) <= _LONGEST_JSON:
        try:
            value = jsontext.loads(text.encode())
        except (jsontext.StrictJSONError, UnicodeEncodeError):
            pass
        else:
            redacted = _redact(value, keys, documented)
            return text if redacted == value else jsontext.dumps(redacted)
    text = scrub_text(text)
    return text if keys is None else keys.scrub(text)


def contains_part(text: str, secret: str, size: int = PART_IN_EVIDENCE) -> bool:
    """Whether any `size` characters in a row of the secret stand in the text."""
    return Parts((secret,), size).stand_in(text)


def scrub_parts(text: str, secrets: Sequence[str], size: int) -> str:
    """Replace every run that shares `size` or more characters in a row with a secret."""
    return without(text, list(Parts(secrets, size).places(text)))


def scrub_message(text: str, secrets: Sequence[str] = (), limit: int = 500) -> str:
    """An error message that may be stored and shown: no part of a key, one line, at most `limit` long."""
    text = scrub_text(text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = scrub_text(keys_of(tuple(secrets), PART_IN_MESSAGE).scrub(text))
    return text if len(text) <= limit else text[: limit - 1] + "…"
