"""Keeps an answer small, whatever the database holds.

A language model pays for each token and reads only a limited number. A byte-level tokenizer makes at most one token
of each byte, so a limit in bytes holds for every model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from collector.clock import time_text
from collector.printable import printable

MOST_BYTES = 3_950
"""Maximum size of an answer in UTF-8, so that it has fewer than 4,000 tokens."""
MOST_CHARACTERS = 64
"""Maximum length of a text from the database or the question; a longer one is cut and ends with `…`. A digest fits."""
_MOST_BYTES_OF_ERROR = 1_200

Row = Mapping[str, Any]


def rows_answer(
    heading: Row,
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    offset: int,
    total_count: int,
    not_said: Sequence[str],
    sentence: str | None = None,
) -> str:
    """An answer of as many rows as there is space for, as JSON.

    `rows`: those from `offset` on, up to the limit of the question. `total_count`: of all rows that match. Each row is
    a list in the order of `columns`. `next_offset` is null if no rows are left. `cut_texts` counts texts that were
    cut. `sentence`: one of `reports.words`, which has its own limits and is not cut.
    """
    start: dict[str, Any] = {
        "total_count": total_count,
        "offset": offset,
        "next_offset": None,
        "cut_texts": 0,
    }
    start |= {name: _cut(value)[0] for name, value in heading.items()}
    start |= {"sentence": sentence} if sentence else {}
    end = {"not_said": list(not_said), "columns": list(columns)}
    space = MOST_BYTES - _size(start | end | {"rows": []}) - 40  # for the numbers that grow
    shown: list[list[Any]] = []
    for row in rows:
        cells = [_cut(row[name]) for name in columns]
        values = [value for value, _ in cells]
        space -= _size(values) + 1
        if space < 0:
            break
        shown.append(values)
        start["cut_texts"] += sum(is_cut for _, is_cut in cells)
    following = offset + len(shown)
    start["next_offset"] = following if following < total_count and shown else None
    return _json(start | end | {"rows": shown})


def object_answer(facts: Row, long_text: tuple[str, str] | None, not_said: Sequence[str]) -> str:
    """An answer that is one object, as JSON. `long_text`: a name and a text that gets the space that is left.

    Its name with `_characters` says how long the whole text is; `is_cut` says that it was cut.
    """
    answer: dict[str, Any] = {name: _cut(value)[0] for name, value in facts.items()}
    answer["not_said"] = list(not_said)
    if long_text is not None:
        name, text = long_text
        answer |= {f"{name}_characters": len(text), "is_cut": False, name: ""}
        shown = printable(text)
        # A character of Unicode has at most four bytes, a quotation mark in JSON two.
        while _size(answer | {name: shown, "is_cut": True}) > MOST_BYTES and shown:
            too_long = _size(answer | {name: shown, "is_cut": True}) - MOST_BYTES
            shown = shown[: len(shown) - max(too_long // 4, 1)]
        answer |= {name: shown, "is_cut": len(shown) < len(text)}
    return _json(answer)


def error_text(message: str) -> str:
    """A message for the model, cut in the middle if it is too long: its end says what to do."""
    shown = printable(message)
    while len(shown.encode("utf-8", "replace")) > _MOST_BYTES_OF_ERROR:
        middle, less = len(shown) // 2, max(len(shown) // 8, 1)
        shown = f"{shown[: middle - less]}…{shown[middle + less :]}"
    return shown


def short(text: str) -> str:
    """A text that is safe to show, cut where it is too long."""
    return str(_cut(text)[0])


def _cut(value: Any) -> tuple[Any, bool]:
    """A value as JSON has it, and True if something was cut."""
    if isinstance(value, datetime):
        whole, dot, fraction = time_text(value).removesuffix("Z").partition(".")
        fraction = fraction.rstrip("0")
        return f"{whole}{dot if fraction else ''}{fraction}Z", False
    if isinstance(value, str):
        text = printable(value)
        is_cut = len(text) > MOST_CHARACTERS
        return (f"{text[: MOST_CHARACTERS - 1]}…" if is_cut else text), is_cut
    if isinstance(value, float):
        return round(value, 4), False
    if isinstance(value, Mapping):
        return {name: _cut(each)[0] for name, each in value.items()}, False
    if isinstance(value, list | tuple):
        return _cut(json.dumps(value, ensure_ascii=False, default=str))
    return value, False


def _size(value: Any) -> int:
    return len(_json(value).encode("utf-8", "replace"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
