"""Everything that is printed goes through here.

Text from the API may contain characters that move a terminal's cursor, set its title or reverse its text. `say` only
prints printable characters, line ends and tabs; `say_rich` also colours, where rich sets them. `say_data` prints data
for programs unchanged to a pipe, and like `say` to a terminal.
"""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from typing import Any, TextIO, cast

import click

_COLOUR = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_KEPT = str.maketrans("", "", "\n\t")


def harmless(text: str) -> str:
    """Text that can't harm a terminal; line ends and tabs stay."""
    if text.translate(_KEPT).isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text for people on stdout, or on stderr."""
    click.echo(harmless(str(text)), err=err, nl=nl)


def say_data(text: str) -> None:
    """Print data for programs on stdout; unchanged if it is not a terminal."""
    # click.echo removes colours outside a terminal, and so would change data.
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def say_sentence(text: str, indent: str = "") -> None:
    """Print a sentence on stdout. A terminal gets it in lines that end between words."""
    width = terminal_width()
    whole = harmless(indent + text)
    say(whole if width is None else textwrap.fill(whole, width, subsequent_indent=indent))


def say_heading(text: str) -> None:
    """Print the heading of a table on stdout, bold in a capable terminal."""
    plain = harmless(text)
    click.echo(plain if is_dumb() else click.style(plain, bold=True))  # click removes it outside a terminal


def terminal_width() -> int | None:
    """Columns of stdout: COLUMNS, or those of its terminal; None: a pipe or a file."""
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
"""Columns of a terminal that does not report its width."""


def has_few_colours() -> bool:
    """True if stdout is a terminal that knows only 16 colours."""
    from rich.console import Console

    return Console(file=sys.stdout).color_system == "standard"


def is_dumb() -> bool:
    """True if the terminal can only print lines of text."""
    return os.environ.get("TERM") in ("dumb", "unknown", "")


def say_rich(renderable: Any, *, width: int | None = None, **how: Any) -> None:
    """Print what rich lays out on stdout. `how`: as for its `Console.print`."""
    from rich.console import Console

    Console(file=cast("TextIO", _Harmless(sys.stdout)), width=width, highlight=False).print(renderable, **how)


class _Harmless(io.TextIOBase):
    """A stream that lets colours through, and nothing else that controls a terminal."""

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
