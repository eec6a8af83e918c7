"""Replaces secrets before anything is stored, hashed or printed.

A value is replaced because of the *name* of its key, whatever the value is (`secret_names`). A string is redacted
because of its *content* (`secret_texts`), and wherever it contains a part of the API key (`secret_keys`). The marker
keeps null distinct, since "no password" is a fact and not a secret.

What is stored is not redacted again: newer rules change the evidence of later answers only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence, Set
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from collector.gcore import jsontext
from collector.gcore.jsontext import Number
from collector.gcore.secret_keys import PART_IN_EVIDENCE, PART_IN_MESSAGE, Parts, keys_of, without
from collector.gcore.secret_names import MARKER, is_named, is_naming, is_secret_name
from collector.gcore.secret_tables import PAIRS, is_name_of_secret, without_column_values, without_rows
from collector.gcore.secret_texts import MOST_SIGNS, SUSPICIOUS, may_hold_secrets, scrub_text, signs
from collector.gcore.words import AnyOf

__all__ = [
    "MARKER",
    "Judged",
    "Redaction",
    "contains_part",
    "is_secret_name",
    "redact",
    "scrub_message",
    "scrub_parts",
    "scrub_text",
]

_LONGEST_JUDGED = 64 * 1024
_LONGEST_JSON = 64 * 1024
"""Longer JSON in a string is judged like other text, because parsing it takes a hundred times its length in memory."""
_A_TEXT, _SIGNS_A_TEXT, _VALUES_A_TEXT = 60, 4, 16
"""Characters of a name, signs in a text, and JSON values in a text that each take as long to judge as one short text.
"""
_PRIMES = "'" * 8
_FEW_NAMES = 256
_OPTION = re.compile(r"--?[A-Za-z][\w.\-]{0,60}")


class TooMuchToJudgeError(ValueError):
    """The value holds more possible secrets than can be judged in reasonable time."""


def redact(value: Any, secrets: Sequence[str] = (), documented: Set[str] = frozenset()) -> Any:
    """A parsed JSON value without its secrets.

    `secrets`: keys that must not occur in any string, number or name, except in `documented` names, which a key may
    happen to contain.
    """
    return Redaction(secrets, documented).of(value)


class _Name(NamedTuple):
    """A key and its judgement."""

    name: str
    shown: str
    is_secret: bool
    is_naming: bool


class Judged(NamedTuple):
    """What had to be judged in a record."""

    effort: int
    """The effort for its texts."""
    names: frozenset[str]
    closely: int
    """Number of characters in texts that may hold secrets."""


_UNUSUAL = AnyOf((*SUSPICIOUS, "@", '"[', '"{', '"-'))
"""Values without any of these are never changed, wherever they are: they contain no JSON and no command-line options.
"""
_NOTHING = Judged(0, frozenset(), 0)


def judged_harmless(values: str) -> Judged | None:
    """What had to be judged in a record with documented names only; None if one of its values may hold a secret.

    `values`: all except those under a secret's name, as JSON without names and without escapes.
    """
    if not _UNUSUAL.may_stand_in(values.lower()):
        return _NOTHING
    texts = values.split('"')[1::2]
    suspicious = [text for text in texts if may_hold_secrets(text)]
    if any(text.startswith(("[", "{", "-")) for text in texts) or any(scrub_text(t) != t for t in suspicious):
        return None
    return Judged(sum(map(_effort_of_text, suspicious)), frozenset(), sum(map(len, suspicious)))


class Redaction:
    """Applies the rules to one answer, as a whole or record by record.

    `secrets`, `documented`: as for `redact`. Judging documented names costs nothing. `effort`: the most distinct
    names, and texts that may hold secrets, that are judged; a long one counts as several. Raises TooMuchToJudgeError
    beyond that, whether they are in this answer or remembered from the last one.
    """

    def __init__(
        self, secrets: Sequence[str] = (), documented: Set[str] = frozenset(), effort: float = inf
    ) -> None:
        self._keys = keys_of(tuple(secrets), PART_IN_EVIDENCE) if any(secrets) else None
        self._documented, self._left = documented, effort
        self._names: dict[str, _Name] = {}
        self._paid: set[str] = set(documented)
        self._paid_together: set[frozenset[str]] = set()
        self._used: set[str] = set()
        self._effort = self._closely = 0

    def record(self, value: dict[str, Any]) -> tuple[dict[str, Any], Judged]:
        """A record without its secrets, and what had to be judged. Only if this redaction looks for no keys."""
        self._used, self._effort, self._closely = set(), 0, 0
        redacted = self._object(value)
        return redacted, Judged(self._effort, _shared(frozenset(self._used)), self._closely)

    def pay(self, judged: Collection[Judged]) -> None:
        """Count what is not judged again."""
        self._left -= sum(each.effort for each in judged)
        for names in {each.names for each in judged} - self._paid_together:
            self._paid_together.add(names)
            self._left -= sum(_effort_of(name) for name in names - self._paid)
            self._paid |= names
        if self._left < 0:
            raise TooMuchToJudgeError

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            return self._list(value)
        if isinstance(value, Number):
            return MARKER if self._keys is not None and self._keys.stand_in(value.literal) else value
        if isinstance(value, str):
            return self._text(value)
        return value

    def _spend(self, effort: int) -> None:
        self._effort += effort
        self._left -= effort
        if self._left < 0:
            raise TooMuchToJudgeError

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        names_a_secret = any(self._name(k).is_naming and is_name_of_secret(v) for k, v in value.items())
        redacted: dict[str, Any] = {}
        again: dict[str, int] = {}
        for k, v in without_rows(value).items():
            judged = self._name(k)
            is_hidden = v is not None and (judged.is_secret or (names_a_secret and is_named(k)))
            name = judged.shown
            while name in redacted:  # two names that differed only in their secrets
                again[judged.shown] = n = again.get(judged.shown, 0) + 1
                name = judged.shown + (_PRIMES[:n] if n <= len(_PRIMES) else f"'{n}")
            redacted[name] = MARKER if is_hidden else self.of(v)
        return redacted

    def _name(self, name: str) -> _Name:
        """Judge a name. There are few, and they recur in every record."""
        judged = self._names.get(name)
        if judged is None:
            if name not in self._paid:
                self._paid.add(name)
                self._left -= _effort_of(name)
                self._spend(0)
            judged = self._names[name] = _Name(name, self._shown(name), is_secret_name(name), is_naming(name))
        self._used.add(judged.name)
        return judged

    def _shown(self, name: str) -> str:
        if name in self._documented:
            return name
        shown = name if name.isidentifier() else scrub_text(name)
        return shown if self._keys is None else self._keys.scrub(shown)

    def _list(self, value: list[Any]) -> list[Any]:
        value = without_column_values(value)
        redacted = [self.of(_pair(item)) for item in value]
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

    def _text(self, text: str) -> str:
        if text[:1] in '{["' and text[-1:] in '}]"' and 2 < len(text) <= _LONGEST_JSON:
            self._closely += len(text)
            self._spend(1 + sum(map(text.count, ",[{")) // _VALUES_A_TEXT)
            try:
                value = jsontext.loads(text.encode())
            except (jsontext.StrictJSONError, UnicodeEncodeError):
                pass
            else:
                redacted = self.of(value)
                return text if redacted == value else jsontext.dumps(redacted)
        if may_hold_secrets(text):
            self._closely += len(text)
            self._spend(_effort_of_text(text))
            text = scrub_text(text)
        if self._keys is None:
            return text
        scrubbed = self._keys.scrub(text)
        if scrubbed != text:
            self._spend(1)
        return scrubbed


def _effort_of(name: str) -> int:
    return 1 + min(len(name), _LONGEST_JUDGED) // _A_TEXT


def _effort_of_text(text: str) -> int:
    return 1 + min(signs(text), MOST_SIGNS) // _SIGNS_A_TEXT


def _shared(names: frozenset[str]) -> frozenset[str]:
    """One shared set for equal names. Most records have the same names."""
    return _one_of_equals(names) if len(names) <= _FEW_NAMES else names


@lru_cache(maxsize=256)
def _one_of_equals(names: frozenset[str]) -> frozenset[str]:
    return names


def _pair(item: Any) -> Any:
    """A pair in a list of pairs, as headers are written; without its value if the first is a secret's name."""
    if not (isinstance(item, list) and len(item) in PAIRS and is_name_of_secret(item[0])):
        return item
    return [item[0], *(None if v is None else MARKER for v in item[1:])]


def contains_part(text: str, secret: str, size: int = PART_IN_EVIDENCE) -> bool:
    """True if the text contains any `size` consecutive characters of the secret."""
    return Parts((secret,), size).stand_in(text)


def scrub_parts(text: str, secrets: Sequence[str], size: int) -> str:
    """Replace every run of `size` or more characters that also occurs in a secret."""
    return without(text, Parts(secrets, size).places(text))


def scrub_message(text: str, secrets: Sequence[str] = (), limit: int = 500) -> str:
    """An error message that may be stored and shown: without parts of a key, one line, at most `limit` long."""
    text = scrub_text(text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = scrub_text(keys_of(tuple(secrets), PART_IN_MESSAGE).scrub(text))
    return text if len(text) <= limit else text[: limit - 1] + "…"
