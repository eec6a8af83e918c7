"""Secrets in tables: a name occurs once, and its values are elsewhere.

    lists    [["user", "password"], ["me", "…"]], {"columns": ["user", "password"], "rows": [["me", "…"]]}
    texts    CSV with a line of names, or the same as psql, mysql and Markdown draw it

A list of texts alone is not a table: ["secret", "standard"] may be types. [["password", "…"], ["user", "me"]] is read
as pairs of a name and a value (`redaction`), not as a table whose first column holds secrets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from collector.gcore.secret_names import MARKER, is_secret_name

PAIRS = (2, 3)
"""Lengths of a list that holds a name and its value, and perhaps a type or a comment."""
_LONGEST_NAME, _MOST_COLUMNS = 64, 256
_NAME = re.compile(r"[ \t]*\"?[^\W\d][\w.\- ]{0,63}\"?[ \t]*")
_CELLS = {
    delimiter: re.compile(rf'[ ]*"(?:[^"]|"")*"[^{re.escape(delimiter)}\r\n]*|[^{re.escape(delimiter)}\r\n]*')
    for delimiter in ",;\t|"
}
_RULE = re.compile(r"[ \t|+:]*-{3}[ \t|+:\-]*\r?(?=\n|\Z)")
"""A line between names and rows."""
_LINE_OF_TWO = re.compile(
    r"^([ \t]{0,64}\|?[ \t]{0,64}([^\W\d][\w.\-]{0,63})[ \t]{0,64}[|\t][ \t]{0,64})(?!\[redacted\])[^|\t\r\n]+?"
    r"(?=[ \t]{0,64}\|?[ \t]{0,64}\r?$)",
    re.MULTILINE,
)
"""A line with one name and its value."""


def is_name_of_secret(value: Any) -> bool:
    """True if the value is a text that names a secret."""
    return isinstance(value, str) and len(value) <= _LONGEST_NAME and is_secret_name(value)


def without_column_values(items: list[Any]) -> list[Any]:
    """A list of rows, the first of which holds the names, without the values of secrets."""
    if not items or not isinstance(items[0], list):
        return items
    columns = _columns(items[0])
    if not columns or (0 in columns and len(items[0]) in PAIRS):
        return items
    return [items[0], *(_row_without(row, {len(items[0]): columns}) for row in items[1:])]


def without_rows(members: dict[str, Any]) -> dict[str, Any]:
    """An object without the values of secrets, if one of its lists holds the names and another one the rows."""
    hidden: dict[int, set[int]] = {}
    for names in members.values():
        if isinstance(names, list) and names and not isinstance(names[0], list):
            columns = _columns(names)
            if columns:
                hidden.setdefault(len(names), set()).update(columns)
    if not hidden:
        return members
    return {
        name: [_row_without(row, hidden) for row in value] if isinstance(value, list) else value
        for name, value in members.items()
    }


def _row_without(row: Any, hidden: Mapping[int, Collection[int]]) -> Any:
    """`hidden`: the columns of secrets, by the length of the rows.

    A hidden cell that names a secret itself (["password", "…"]) can no longer be judged, so what follows it is hidden.
    """
    columns = hidden.get(len(row)) if isinstance(row, list) else None
    if not columns:
        return row
    naming = next((at for at in sorted(columns) if is_name_of_secret(row[at])), len(row))
    return [_hidden(v) if at in columns or at > naming else v for at, v in enumerate(row)]


def _columns(names: list[Any]) -> Collection[int]:
    """The positions of secret names in a row of names; a column may also be an object with its name."""
    if len(names) > _MOST_COLUMNS:
        return ()
    texts = [_text(name) for name in names]
    return {at for at, text in enumerate(texts) if is_name_of_secret(text)} if None not in texts else ()


def _text(name: Any) -> str | None:
    if isinstance(name, dict):
        name = next((v for k, v in name.items() if k.lower() in ("name", "field", "key", "id")), None)
    return name if isinstance(name, str) else None


def _hidden(value: Any) -> Any:
    return None if value is None else MARKER


def without_csv(text: str) -> str:
    """A text without the secrets in lines of CSV under a line of names."""
    kept, begin = [], 0
    while (end := text.find("\n", begin)) >= 0:
        line = text[begin:end]
        rule = _RULE.match(text, end + 1)
        delimiter = max(_CELLS, key=line.count)
        names = line.split(delimiter) if line.count(delimiter) < _MOST_COLUMNS else []
        hidden = _hidden_columns(names, is_drawn=delimiter == "|") if len(names) > 1 or rule else set()
        kept.append(text[begin : end + 1])
        begin = end + 1
        if rule and hidden:
            kept.append(text[begin : rule.end() + 1])
            begin = rule.end() + 1
        while hidden and begin < len(text):
            row, after, width = _row(text, begin, delimiter, hidden)
            if width != len(names):
                break
            kept.append(row)
            begin = after
    return "".join([*kept, text[begin:]])


def without_lines_of_two(text: str) -> str:
    """A text without the secrets in lines with one name and one value between tabs or bars."""
    return _LINE_OF_TWO.sub(lambda m: m[1] + MARKER if is_secret_name(m[2]) else m[0], text)


def _hidden_columns(names: list[str], *, is_drawn: bool) -> set[int]:
    """The columns of secrets, or none if this is no line of names. `is_drawn`: it may begin and end with a bar."""
    cells = [name.strip(' \t\r"') for name in names]
    inner = names[not cells[0] : len(names) - (not cells[-1])] if is_drawn else names
    if not inner or not all(_NAME.fullmatch(name.rstrip("\r")) for name in inner):
        return set()
    return {at for at, cell in enumerate(cells) if is_secret_name(cell)}


def _row(text: str, begin: int, delimiter: str, hidden: Collection[int]) -> tuple[str, int, int]:
    """A line of CSV without its secrets, the start of the next line, and the number of cells."""
    cells: list[str] = []
    at = begin
    while True:
        cell = _CELLS[delimiter].match(text, at)
        assert cell is not None  # noqa: S101 - the pattern also matches nothing
        cells.append(MARKER if len(cells) in hidden and cell[0].strip() else cell[0])
        at = cell.end()
        if text[at : at + 1] != delimiter or len(cells) > _MOST_COLUMNS:
            break
        at += 1
    after = text.find("\n", at) + 1 or len(text)
    return delimiter.join(cells) + text[at:after], after, len(cells)
