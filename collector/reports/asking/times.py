"""Times by name in a statement (`:yesterday`, `:2_days_ago`), and comparisons of times that go wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache

from collector.clock import time_text
from collector.database.types import UtcTime
from collector.errors import UsageError
from collector.reports import views
from collector.reports.asking.statement import Statement, Token
from collector.reports.times import parse_time
from collector.store.tables import metadata

_NAMED = re.compile(r"now|today|yesterday|day_before_yesterday|\d{1,5}_[a-z]+_ago|last_[a-z]+", re.IGNORECASE)
_STORED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_PREFIX = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?)?)?)?")
_ORDERS = ("<", "<=", ">", ">=", "between")
_COMPARES = (*_ORDERS, "=", "==", "<>", "!=")
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


def wrong_comparisons(statement: Statement, given: Mapping[str, str], now: datetime) -> list[str]:
    """Warnings about columns of times that SQLite compares with a text that is not a stored time.

    `given`: the values of parameters.
    """
    found = (
        _warning(column.name, other, operator, given, now)
        for column, other, operator in _comparisons(statement.tokens)
    )
    return list(dict.fromkeys(warning for warning in found if warning))


def _comparisons(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token, str]]:
    """Columns of times, with what they are compared with and how."""
    for n, token in enumerate(tokens):
        operator = token.text.lower()
        if operator not in _COMPARES or not 0 < n < len(tokens) - 1:
            continue
        before, after = tokens[n - 1], _last_of_name(tokens, n + 1)
        if operator == "between" and before.text.lower() == "not":
            before = tokens[n - 2]
        if is_time(before):
            yield before, after, operator
            if operator == "between" and n + 3 < len(tokens) and tokens[n + 2].text.lower() == "and":
                yield before, tokens[n + 3], operator
        elif is_time(after):
            yield after, before, operator


def _last_of_name(tokens: Sequence[Token], n: int) -> Token:
    """The last part of a name like `t.observed_at` that begins here."""
    while n + 2 < len(tokens) and tokens[n + 1].text == ".":
        n += 2
    return tokens[n]


def is_time(token: Token) -> bool:
    """True if a name is that of a column of times."""
    return token.kind in ("word", "quoted") and token.name.lower() in _time_columns()


@cache
def _time_columns() -> frozenset[str]:
    columns = [column for table in metadata.tables.values() for column in table.c]
    in_tables = {column.name for column in columns if isinstance(column.type, UtcTime)}
    in_views = {c.name for view in views.NAMES for c in views.columns(view) if isinstance(c.type, UtcTime)}
    return frozenset(in_tables | in_views)


def _warning(column: str, other: Token, operator: str, given: Mapping[str, str], now: datetime) -> str:
    """What is wrong with a comparison; empty if nothing is."""
    if other.kind == "text":
        text = other.text[1:-1].replace("''", "'")
    elif other.kind == "parameter" and other.text[1:] in given:
        text = given[other.text[1:]]
    elif other.text.lower() in _MAKES_OTHER_TEXT:
        return f"{column} is compared with {other.text}, whose text is not a stored time; write :now or :2_days_ago"
    else:
        return ""
    if _STORED.fullmatch(text) or (operator in _ORDERS and _PREFIX.fullmatch(text)):
        return ""
    try:
        instead = f"write '{time_text(parse_time(text, now))}'"
    except ValueError:
        instead = "write a time like '2026-05-01T12:00:00.000000Z', or :yesterday"
    return (
        f"{column} is compared with '{text}', which is not a stored time, and SQLite compares times as text; "
        f"{instead}"
    )
