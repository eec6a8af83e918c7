"""Paths of places in an answer, spelled as in `schema_drift`: `results[].keystone.extra.notes`.

Names are separated by dots; `[]` after one means each element of a list. A name with characters other than letters,
digits, `_` and `-` is written in quotation marks, as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collector.gcore import jsontext
from collector.gcore.document import Document, Record, assembled, id_of
from collector.gcore.secret_names import MARKER

ESSENTIAL = frozenset(
    {
        "count",
        "results",
        "results[]",
        "results[].id",
        "results[].state",
        "results[].keystone_id",
        "results[].keystone",
        "results[].keystone.id",
        "results[].keystone.state",
        "results[].metrics_database_id",
        "results[].metrics_database",
        "results[].metrics_database.id",
    }
)
"""Fields that identify an entity or give its state."""
_PLAIN = re.compile(r"[A-Za-z0-9_\-]+")
_STEP = re.compile(r'(?P<name>[A-Za-z0-9_\-]+|"(?:[^"\\]|\\.)*")(?P<lists>(?:\[\])*)(?:\.|$)')
RECORDS = "results[]."


@dataclass(frozen=True, slots=True)
class Path:
    """A place in each answer."""

    text: str
    steps: tuple[str | None, ...]
    """Names; None: each element."""

    @classmethod
    def parse(cls, text: str) -> Path:
        """Parse a path. Raises ValueError with the reason if it is invalid or a field that history is made of."""
        text = text.strip().removeprefix("$.")
        steps: list[str | None] = []
        at = 0
        while at < len(text):
            step = _STEP.match(text, at)
            if step is None or (text[step.end() - 1] == "." and step.end() == len(text)):
                raise ValueError(f"{text!r} is not a path; write one like results[].keystone.extra.notes")
            steps.append(_named(step["name"]))
            steps += [None] * (len(step["lists"]) // 2)
            at = step.end()
        if not steps:
            raise ValueError("a path needs at least one name, like results[].keystone.extra.notes")
        text = _spelled(steps)
        if text in ESSENTIAL:
            raise ValueError(
                f"{text} identifies an entity or gives its state; history can't be derived without it"
            )
        if steps[0] == "results" and steps[1:2] != [None]:
            raise ValueError(
                f"{text!r} is not a place in an answer: `results` is a list, so write results[].…"
            )
        return cls(text, tuple(steps))

    @property
    def is_of_records(self) -> bool:
        return self.steps[0] == "results"


def _named(text: str) -> str:
    """The name in a step. Raises ValueError."""
    try:
        return str(json.loads(text)) if text[0] == '"' else text
    except ValueError:
        raise ValueError(
            f'{text} is not a name; write it as JSON has it, with escapes like \\" and \\u00e9'
        ) from None


def _spelled(steps: Sequence[str | None]) -> str:
    """The canonical spelling of a path: only names that need quotation marks have them."""
    text = ""
    for step in steps:
        plain = step is not None and _PLAIN.fullmatch(step)
        text += "[]" if step is None else f".{step if plain else json.dumps(step)}"
    return text.removeprefix(".")


def cleaned(document: Document, paths: Sequence[Path]) -> Document:
    """A document with the marker in place of every value at these paths; null stays.

    Returns the same object if there is nothing to replace.
    """
    around = [path.steps for path in paths if not path.is_of_records]
    inside = [path.steps[2:] for path in paths if path.is_of_records]
    envelope: Any = dict(document.envelope)
    for steps in around:
        envelope = _replaced(envelope, steps)
    records = [_cleaned(record, inside) for record in document.records] if inside else document.records
    is_same = all(a is b for a, b in zip(records, document.records, strict=True))
    if is_same and jsontext.dumps(envelope) == jsontext.dumps(dict(document.envelope)):
        return document
    return assembled(envelope, records)


def _cleaned(record: Record, inside: Sequence[tuple[str | None, ...]]) -> Record:
    if not any(name in record.text for steps in inside for name in [_needle(steps)]):
        return record
    value = record.value
    for steps in inside:
        value = _replaced(value, steps)
    text = jsontext.dumps(value)
    return record if text == record.text else Record(text, id_of(value))


def _needle(steps: Sequence[str | None]) -> str:
    """Text that a record contains if it has the place."""
    names = [name for name in steps if name is not None]
    return f"{jsontext.dumps(names[-1])}:" if names else ""


def _replaced(value: Any, steps: Sequence[str | None]) -> Any:
    if not steps:
        return None if value is None else MARKER
    step, rest = steps[0], steps[1:]
    if step is None:
        return [_replaced(item, rest) for item in value] if isinstance(value, list) else value
    if not isinstance(value, dict) or step not in value:
        return value
    return {**value, step: _replaced(value[step], rest)}
