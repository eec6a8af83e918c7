"""The one place through which everything that is printed goes.

What the cloud says may hold what moves a terminal's cursor, sets its title or turns its text round. `say` lets nothing
through but printable characters, line ends and tabs; `say_rich` colours too, where rich sets them. `say_data` prints
data for programs as they are when they are piped, and like `say` when they go to a terminal.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import Any, TextIO, cast

import click

_COLOUR = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_KEPT = str.maketrans("", "", "\n\t")


def harmless(text: str) -> str:
    """Text that can do a terminal no harm; line ends and tabs stay."""
    if text.translate(_KEPT).isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text for people on stdout, or on stderr."""
    click.echo(harmless(str(text)), err=err, nl=nl)


def say_data(text: str) -> None:
    """Print data for programs on stdout, exactly so where it is no terminal."""
    # Not by click.echo: where it does not see a terminal it takes colours out, and so changes data.
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def say_heading(text: str) -> None:
    """Print the heading of a table on stdout: bold in a terminal that knows how."""
    plain = harmless(text)
    click.echo(
        plain if is_dumb() else click.style(plain, bold=True)
    )  # click takes it out where no terminal is


def terminal_width() -> int | None:
    """Columns that stdout has: those that COLUMNS names, or those of its terminal; None: a pipe or a file."""
    named = os.environ.get("COLUMNS", "")
    if re.fullmatch(r"[1-9][0-9]{0,4}", named):
        return int(named)
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or USUAL_WIDTH
    except OSError:
        return USUAL_WIDTH


USUAL_WIDTH = 80
"""Columns of a terminal that does not say how many it has."""


def is_dumb() -> bool:
    """Whether the terminal knows nothing but lines of text."""
    return os.environ.get("TERM") in ("dumb", "unknown", "")


def say_rich(renderable: Any, *, width: int | None = None, **how: Any) -> None:
    """Print what rich lays out on stdout. `how`: as for its `Console.print`."""
    from rich.console import Console

    Console(file=cast("TextIO", _Harmless(sys.stdout)), width=width, highlight=False).print(renderable, **how)


class _Harmless(io.TextIOBase):
    """A stream that lets colours through, and nothing else that moves a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        self._stream.flush()

    def write(self, text: str, /) -> int:
        pieces = _COLOUR.split(text)
        return self._stream.write("".join(p if i % 2 else harmless(p) for i, p in enumerate(pieces)))
