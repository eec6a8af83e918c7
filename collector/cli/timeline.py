"""`collector timeline`: a picture of states over time."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.cli.common import Word, entity_option, open_for_questions, source_option
from collector.cli.printing import has_few_colours, note, say, say_rich, say_sentence, terminal_width
from collector.cli.rows import format_option, print_rows
from collector.cli.times import Time, check_order
from collector.clock import utc_now
from collector.errors import UsageError
from collector.reports.words import show_time

if TYPE_CHECKING:
    import sqlalchemy as sa

    from collector.reports.spans import SpanFilter
    from collector.reports.timeline.picture import Order
    from collector.reports.timeline.text import Line, Signs

PIPE_WIDTH = 100
"""Columns if there is no terminal and COLUMNS is not set."""


@click.command()
@click.argument("regions", nargs=-1, type=Word(), metavar="[REGION]…")
@click.option(
    "--from", "since", type=Time(), metavar="TIME", help="Begin here; default: at the first sighting."
)
@click.option("--to", "until", type=Time(), metavar="TIME", help="End here; default: now.")
@entity_option
@click.option(
    "--order",
    type=click.Choice(["name", "zone", "country", "first-change"]),
    default="name",
    show_default=True,
    help="Order of the lines; zones and countries get headings.",
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE.svg",
    help="Draw it as SVG into this file; an existing SVG is replaced; - is stdout.",
)
@click.option(
    "--without-absent",
    is_flag=True,
    help="Don't show the time since an entity disappeared, if it is still absent.",
)
@source_option
@format_option
@click.pass_context
def timeline(
    context: click.Context,
    regions: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    entity: str,
    order: Order,
    path: Path | None,
    without_absent: bool,
    source: str | None,
    format_: str,
) -> None:
    """Draw states over time, in the terminal or as SVG.

    It shows the given regions, or all of them. Time in an unknown state is hatched, and each change is as wide as the
    window in which it happened. --format json and csv give the spans of time behind the picture.

    \b
    Example:
      collector timeline --from "7 days ago"
      collector timeline luxembourg-2 sines-3 -o timeline.svg
    """
    from collector.reports.spans import SPANS, SpanFilter, spans

    now = utc_now()
    if path and format_ != "table":
        raise UsageError(f"-o draws a picture, and --format {format_} prints rows: choose one of them")
    check_order(since, until or now)
    if path:
        _check_file(path)
    wanted = SpanFilter(entity, regions, source, since, until, without_absent)
    with open_for_questions(context, source) as connection:
        if format_ != "table":
            print_rows(list(spans(connection, wanted)), format_, SPANS)
        elif path:
            _write_svg(connection, wanted, now, order, path)
        else:
            _print(connection, wanted, now, order)


def _write_svg(
    connection: sa.Connection, wanted: SpanFilter, now: datetime, order: Order, path: Path
) -> None:
    from collector.reports.timeline.picture import picture
    from collector.reports.timeline.svg import CHART, draw

    found = picture(connection, wanted, now, CHART, order)
    text = draw(found)
    say(f"from {show_time(found.scale.since)} to {show_time(found.scale.until)}", err=True)
    if str(path) == "-":
        binary = getattr(sys.stdout, "buffer", None)
        # SVG is UTF-8, whatever the terminal's encoding is.
        click.echo(text.encode() if binary else text, file=binary, nl=False)
        return
    _replace(path, text.encode())
    lanes = f"{len(found.lanes)} lane" + ("s" if len(found.lanes) != 1 else "")
    say(f"{path}: {lanes}, {len(text.encode()):,} bytes")


def _print(connection: sa.Connection, wanted: SpanFilter, now: datetime, order: Order) -> None:
    from collector.reports.spans import ASSUMPTION
    from collector.reports.timeline.picture import picture
    from collector.reports.timeline.text import ASCII, BLOCKS, FINE, draw

    width = terminal_width() or PIPE_WIDTH
    signs = replace(BLOCKS if _can_print(BLOCKS.all) else ASCII, has_few_colours=has_few_colours())
    found = picture(connection, wanted, now, width * FINE, order)
    say(f"from {show_time(found.scale.since)} to {show_time(found.scale.until)}", err=True)
    if not found.lanes:
        say_sentence("nothing is known about this time: a state is only known from one poll to the next")
        return
    note(f"assumed: {ASSUMPTION}")
    _print_lines(draw(found, width, signs), signs)


def _print_lines(lines: list[Line], signs: Signs) -> None:
    from rich.text import Text

    for line in lines:
        text = Text()
        for said, style in line:
            text.append(_as_ascii(said) if signs.is_ascii else said, style or None)
        text.rstrip()
        say_rich(text, width=10_000, soft_wrap=True, no_wrap=True, crop=False)


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _as_ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _check_file(path: Path) -> None:
    """Refuse to overwrite anything but an SVG: a mistyped name may be a database's."""
    if str(path) == "-" or not path.exists():
        if str(path) != "-" and not path.parent.is_dir():
            raise UsageError(f"the folder {path.parent} does not exist")
        return
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            start = file.read(1000)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    if start.strip() and b"<svg" not in start:
        raise UsageError(f"{path} exists and is not an SVG; choose another name")


def _replace(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    target = Path(os.path.realpath(path))  # which also follows links that go in circles, as far as it can
    if target.exists() and not target.is_file():  # a device or a pipe
        try:
            target.write_bytes(content)
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror}") from None
        return
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
        os.replace(part, target)  # noqa: PTH105 - the most readable form
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink()
