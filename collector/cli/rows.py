"""Rows as tables for people, and as JSON and CSV for programs.

In a terminal, a table is as wide as the terminal, and times are local, to the minute. A pipe gets all columns,
however wide, with full times in UTC. COLUMNS sets another width, as `watch` does.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import click

from collector.cli import tables
from collector.cli.printing import note, say, say_data, say_heading, terminal_width
from collector.clock import time_text, utc_now
from collector.reports.words import printable, show_time

if TYPE_CHECKING:
    from collector.reports.columns import Heading, Report

F = TypeVar("F", bound=Callable[..., Any])
_UTC = "collector.utc"


def _format_option(formats: Sequence[str], text: str) -> Callable[[F], F]:
    return click.option(
        "--format", "format_", type=click.Choice(formats), default="table", show_default=True, help=text
    )


def format_option(function: F) -> F:
    """`--format table|json|csv` and `--utc`, the same for all commands."""
    utc = click.option(
        "--utc",
        is_flag=True,
        expose_value=False,
        callback=lambda context, _, value: context.meta.update({_UTC: value}),
        help="Full times in UTC, also in a table in a terminal.",
    )
    return _format_option(["table", "json", "csv"], "json and csv have all fields.")(utc(function))


def object_option(text: str) -> Callable[[F], F]:
    """`--format table|json`, for answers that are one object instead of rows; `text`: what the object contains."""
    return _format_option(["table", "json"], text)


def show(value: Any) -> str:
    """A value for people."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return show_time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(printable(str(item)) for item in value) or "[]"
    return printable(str(value))


def brief_time(moment: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """`26 Nov 21:00`; with the year if it is not the year of `now`. `zone`: None is that of this machine."""
    here = moment.astimezone(zone)
    year = "" if here.year == now.astimezone(zone).year else f" {here.year}"
    return f"{here.day:>2} {here:%b}{year} {here:%H:%M}"


def as_json(value: Any) -> Any:
    """A value in JSON: times as ISO 8601 in UTC with microseconds, lists as lists."""
    if isinstance(value, datetime):
        return time_text(value)
    return list(value) if isinstance(value, tuple) else value


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    format_: str,
    report: Report,
    empty: str = "",
    *,
    shown: Mapping[str, Heading] | None = None,
) -> None:
    """Print rows. `shown`: the headings of a table by name, if they differ from the report's."""
    fields = report.fields
    if format_ == "json":
        say(json.dumps([{k: as_json(row[k]) for k in fields} for row in rows], indent=2))
    elif format_ == "csv":
        say_data("".join(csv_lines(fields, ([in_csv(row[k]) for k in fields] for row in rows))))
    elif not rows:
        say(empty)
    else:
        _print_table(rows, report.table if shown is None else shown)


def _print_table(rows: Sequence[Mapping[str, Any]], shown: Mapping[str, Heading]) -> None:
    now, context = utc_now(), click.get_current_context(silent=True)
    is_brief = terminal_width() is not None and not (context and context.meta.get(_UTC))

    def text(value: Any) -> str:
        return brief_time(value, now) if is_brief and isinstance(value, datetime) else show(value)

    print_texts(list(shown.values()), [[text(row[name]) for name in shown] for row in rows])
    if is_brief and any(isinstance(row[name], datetime) for row in rows for name in shown):
        say(f"times are {now.astimezone().tzname()}, to the minute (add --utc for full ones)", err=True)


def print_texts(
    headings: Sequence[Heading], rows: Sequence[Sequence[str]], *, keep_empty: bool = False
) -> None:
    """Print a table of texts, and on stderr which columns did not fit."""
    table = tables.lay_out(headings, rows, terminal_width(), keep_empty=keep_empty)
    for line in table.heading:
        say_heading(line)
    say("\n".join(table.lines))
    if table.left_out:
        names = ", ".join(headings[n].text for n in table.left_out)
        note(f"not shown: {names} (widen the terminal, or add --format csv)")


def csv_lines(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """CSV whose lines end with a newline, and in which a field with any kind of line end is quoted.

    The standard library before 3.11.9 quotes only the line end that it writes itself, so that it writes both.
    """
    written: list[str] = []

    class Lines:
        write = staticmethod(written.append)

    writer = csv.writer(Lines, lineterminator="\r\n")
    for row in chain([heading], rows):
        writer.writerow(row)
        yield f"{written.pop().removesuffix(chr(13) + chr(10))}\n"


def in_csv(value: Any) -> Any:
    """A value in CSV: lists as JSON, booleans as true and false."""
    value = as_json(value)
    if isinstance(value, list | dict):
        return json.dumps(value)
    return {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
