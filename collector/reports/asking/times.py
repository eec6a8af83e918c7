"""Times by name in a statement (`:yesterday`, `:2_days_ago`), and comparisons of times that go wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from collector.clock import time_text
from collector.database.types import UtcTime
from collector.errors import UsageError
from collector.reports import views
from collector.reports.asking.statement import Statement, Token
from collector.reports.times import parse_time
from collector.reports.words import show_time
from collector.store.tables import metadata

_NAMED = re.compile(r"now|today|yesterday|day_before_yesterday|\d{1,5}_[a-z]+_ago|last_[a-z]+", re.IGNORECASE)
_STORED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_PREFIX = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?)?)?)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MIDNIGHT = "T00:00:00.000000Z"
_ORDERS = ("<", "<=", ">", ">=")
_EXACT_WITH_A_START = ("<", ">=")
"""How a column may be compared with the beginning of its text: SQLite puts the beginning before the whole."""
_EXACT_WITH_A_TIME = ("<=", ">")
"""How a day may be compared with a whole time."""
_COMPARES = (*_ORDERS, "between", "=", "==", "<>", "!=")
_TURNED = str.maketrans("<>", "><")
_MAKES_OTHER_TEXT = ("datetime", "current_timestamp", "time")


def named_times(statement: Statement, given: Mapping[str, object], now: datetime) -> dict[str, datetime]:
    """The parameters that nobody gave and that name a time, with that time. Raises UsageError for other ones."""
    unused = [name for name in given if name not in statement.parameters]
    if unused:
        raise UsageError(
            f"the statement has no parameter :{unused[0]}; write :{unused[0]} where its value belongs"
        )
    return {name: _named(name, now) for name in statement.parameters if name not in given}


def _named(name: str, now: datetime) -> datetime:
    if not _NAMED.fullmatch(name):
        raise UsageError(
            f"there is no value for :{name}; give one with --param {name}=VALUE or --time {name}=TIME. Times that need "
            "none are :now, :today, :yesterday, :2_days_ago and the like"
        )
    try:
        return parse_time(name.replace("_", " "), now)
    except ValueError as error:
        raise UsageError(f":{name}: {error}") from None


def wrong_comparisons(statement: Statement, given: Mapping[str, str | datetime], now: datetime) -> list[str]:
    """Warnings about columns of times and days that SQLite compares with a text that it orders wrongly.

    `given`: the values of parameters.
    """
    found = (
        (_day_warning if is_day(column) else _warning)(column.name, other, operator, given, now)
        for column, other, operator in _comparisons(statement.tokens)
    )
    return list(dict.fromkeys(warning for warning in found if warning))


def _comparisons(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token, str]]:
    """Columns of times and days, with what they are compared with and how: as if the column came first."""
    for n, token in enumerate(tokens):
        operator = token.text.lower()
        if operator not in _COMPARES or not 0 < n < len(tokens) - 1:
            continue
        last = _last_of_name(tokens, n + 1)
        before, after = tokens[n - 1], tokens[last]
        if "|" in (
            tokens[n - 2].text if n > 1 else "",
            tokens[last + 1].text if last + 1 < len(tokens) else "",
        ):
            continue  # a piece of a text
        if operator == "between" and before.text.lower() == "not":
            before = tokens[n - 2]
        if is_time(before) or is_day(before):
            yield before, after, ">=" if operator == "between" else operator
            if operator == "between" and n + 3 < len(tokens) and tokens[n + 2].text.lower() == "and":
                yield before, tokens[n + 3], "<="
        elif is_time(after) or is_day(after):
            yield after, before, operator.translate(_TURNED)


def _last_of_name(tokens: Sequence[Token], n: int) -> int:
    """Where the last part of a name like `t.observed_at` is that begins here."""
    while n + 2 < len(tokens) and tokens[n + 1].text == ".":
        n += 2
    return n


def is_time(token: Token) -> bool:
    """True if a name is that of a column of times."""
    return token.kind in ("word", "quoted") and token.name.lower() in _columns_of(UtcTime)


def is_day(token: Token) -> bool:
    """True if a name is that of a column of days."""
    return token.kind in ("word", "quoted") and token.name.lower() in _columns_of(sa.Date)


@cache
def _columns_of(type_: type[sa.types.TypeEngine[Any]]) -> frozenset[str]:
    columns = [column for table in metadata.tables.values() for column in table.c]
    in_tables = {column.name for column in columns if isinstance(column.type, type_)}
    in_views = {c.name for view in views.NAMES for c in views.columns(view) if isinstance(c.type, type_)}
    return frozenset(in_tables | in_views)


def _text(other: Token, given: Mapping[str, str | datetime]) -> str | None:
    """The text with which a column is compared, as SQLite gets it; None: it is not known here."""
    if other.kind == "text":
        return other.text[1:-1].replace("''", "'")
    value = given.get(other.text[1:]) if other.kind == "parameter" else None
    return time_text(value) if isinstance(value, datetime) else value


def _warning(
    column: str, other: Token, operator: str, given: Mapping[str, str | datetime], now: datetime
) -> str:
    """What is wrong with a comparison of a time; empty if nothing is."""
    if is_day(other):
        return "" if operator in _EXACT_WITH_A_START else _of_both(column, operator, other.name, other.name)
    if other.text.lower() in _MAKES_OTHER_TEXT:
        return f"{column} is compared with {other.text}, whose text is not a stored time; write :now or :2_days_ago"
    text = _text(other, given)
    if (
        text is None
        or _STORED.fullmatch(text)
        or (operator in _EXACT_WITH_A_START and _PREFIX.fullmatch(text))
    ):
        return ""
    try:
        moment = parse_time(text, now)
    except ValueError:
        start, instead = "its start", "write a time like '2026-05-01T12:00:00.000000Z', or :yesterday"
    else:
        start, instead = f"{show_time(moment)} itself", f"write '{time_text(moment)}'"
    if operator in _ORDERS and _PREFIX.fullmatch(text):
        does = "also finds" if operator == ">" else "misses"
        return (
            f"{column} {operator} '{text}' {does} {start}, because SQLite compares times as text; {instead}"
        )
    return (
        f"{column} is compared with '{text}', which is not a stored time, and SQLite compares times as text; "
        f"{instead}"
    )


def _of_both(column: str, operator: str, other: str, day: str) -> str:
    return (
        f"{column} {operator} {other} is wrong at midnight, because SQLite compares texts, and puts a day before its "
        f"own midnight; write {day} || '{_MIDNIGHT}'"
    )


def _day_warning(
    column: str, other: Token, operator: str, given: Mapping[str, str | datetime], now: datetime
) -> str:
    """What is wrong with a comparison of a day; empty if nothing is."""
    if is_time(other):
        return "" if operator in _EXACT_WITH_A_TIME else _of_both(column, operator, other.name, column)
    text = _text(other, given)
    if text is None or _DAY.fullmatch(text):
        return ""
    if _STORED.fullmatch(text):
        is_exact = operator in (_EXACT_WITH_A_TIME if text.endswith(_MIDNIGHT) else _ORDERS)
    else:
        is_exact = operator in _EXACT_WITH_A_START and bool(_PREFIX.fullmatch(text))
    if is_exact:
        return ""
    try:
        instead = f"write '{parse_time(text, now):%Y-%m-%d}'"
    except ValueError:
        instead = "write a day like '2026-05-01'"
    if other.kind == "parameter":
        instead += f", or SUBSTR({other.text}, 1, 10)"
    return (
        f"{column} is compared with '{text}', which is not a day, and SQLite compares days as text; {instead}"
    )
