"""`collector sql`: one statement that only reads."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import click

from collector.cli.common import LIMIT, Text, open_existing
from collector.cli.printing import note, say, say_data
from collector.cli.rows import csv_lines, in_csv, print_texts, show
from collector.cli.times import Time
from collector.clock import time_text, utc_now
from collector.errors import UsageError
from collector.nearest import listed
from collector.reports.columns import Heading
from collector.reports.words import counted, show_time

MOST = 1000


class Named(click.ParamType[tuple[str, Any]]):
    """`NAME=VALUE`; `of`: the type of the value."""

    name = "name=value"

    def __init__(self, of: click.ParamType[Any]) -> None:
        self._of = of

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, rest = str(value).partition("=")
        if not equals or not re.fullmatch(r"\w+", name := name.removeprefix(":")):
            self.fail(f"{value!r} is not written like name=value", param, ctx)
        return name, self._of.convert(rest, param, ctx)


class Seconds(click.ParamType[float]):
    """A duration like 60s or 5m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from collector.spelling import parse_duration

        try:
            seconds: float = parse_duration(value).total_seconds()
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        if not 0 < seconds <= 86400:
            self.fail(f"{value!r} is not between 1ms and 1d", param, ctx)
        return seconds


@click.command()
@click.argument("statement", type=Text(), required=False)
@click.option(
    "--param", "texts", type=Named(Text()), multiple=True, metavar="NAME=VALUE", help="Value of :NAME."
)
@click.option(
    "--time",
    "times",
    type=Named(Time()),
    multiple=True,
    metavar="NAME=TIME",
    help="Value of :NAME, a time.",
)
@click.option(
    "--limit",
    type=LIMIT,
    default=MOST,
    show_default=True,
    help="Print at most this many rows.",
)
@click.option(
    "--timeout",
    type=Seconds(),
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="Give up after this time.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json: an array of objects.",
)
@click.pass_context
def sql(
    context: click.Context,
    statement: str | None,
    texts: Sequence[tuple[str, str]],
    times: Sequence[tuple[str, datetime]],
    limit: int,
    timeout: float,
    format_: str,
) -> None:
    """Run one SQL statement that can only read. Without STATEMENT it is read from stdin.

    :now, :today, :yesterday, :2_days_ago, :last_week and the like are times. SQLite compares times as text, so a
    comparison with a text that is not a stored time gets a warning. Tables and views: docs/data-dictionary.md.

    \b
    Example:
      collector sql "SELECT slug, state FROM current_regions WHERE has_ai_gpu"
      collector sql "SELECT * FROM coverage_gaps WHERE from_at > :2_days_ago"
      collector sql --param s=NEW "SELECT slug FROM all_regions WHERE state = :s"
    """
    from collector.database.asking import RefusedError, ask
    from collector.database.transactions import reading
    from collector.database.url import is_sqlite
    from collector.reports.asking.mistakes import explained
    from collector.reports.asking.statement import read_statement, with_placeholders
    from collector.reports.asking.times import named_times, wrong_comparisons
    from collector.store.sources import derived_by_older_rules

    asked = read_statement(_text_of(statement))
    now = utc_now()
    given: dict[str, Any] = {**dict(texts), **dict(times)}
    named = named_times(asked, given, now)
    engine = open_existing(context)
    on_sqlite = is_sqlite(engine)
    with reading(engine) as connection:
        stale = derived_by_older_rules(connection)
    if stale:
        note(f"warning: an older version derived the history of {listed(stale)}; run `collector db rebuild`")
    for name, moment in (dict(times) | named).items():
        say(f":{name} is {show_time(moment)}", err=True)
    values = given | named
    for warning in wrong_comparisons(asked, values, now) if on_sqlite else ():
        note(f"warning: {warning}")
    if on_sqlite:
        values = {name: time_text(v) if isinstance(v, datetime) else v for name, v in values.items()}
    text = asked.sql if on_sqlite else with_placeholders(asked)
    try:
        result = ask(engine, text, values, most=limit, seconds=timeout)
    except RefusedError as refused:
        raise UsageError(explained(refused, asked)) from refused
    finally:
        engine.dispose()
    _print(_different(result.names), [[_plain(v) for v in row] for row in result.rows], format_)
    if result.is_cut:
        say(f"only the first {counted(limit, 'row')}; --limit {limit * 10} prints more", err=True)


def _text_of(statement: str | None) -> str:
    if statement is not None and statement != "-":
        return statement
    if sys.stdin.isatty():
        from collector.reports.asking.statement import EXAMPLE

        raise UsageError(f"there is no statement; write one like {EXAMPLE}, or give one on stdin")
    from collector.spelling import text_of

    binary = getattr(sys.stdin, "buffer", None)
    try:
        return sys.stdin.read() if binary is None else text_of(binary.read())
    except UnicodeDecodeError:
        raise UsageError("the statement on stdin is not text: it is not valid UTF-8") from None


def _different(names: Sequence[str]) -> list[str]:
    """Names of columns, of which a second `id` is `id_2`."""
    found: list[str] = []
    for name in names:
        number = 2
        said = name
        while said in found:
            said, number = f"{name}_{number}", number + 1
        found.append(said)
    return found


def _plain(value: Any) -> Any:
    """A value of either database as JSON knows it; times as they are stored."""
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return time_text(value) if value.tzinfo else value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict | str | int | float | bool | None):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _print(names: Sequence[str], rows: Sequence[Sequence[Any]], format_: str) -> None:
    if format_ == "json":
        say(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
    elif format_ == "csv":
        say_data("".join(csv_lines(names, ([in_csv(v) for v in row] for row in rows))))
    elif not rows:
        say("no rows")
    else:
        headings = [Heading(name, n + 1) for n, name in enumerate(names)]
        print_texts(headings, [[show(v) for v in row] for row in rows], keep_empty=True)
