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

from collector.printable import printable

_COLOUR = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_BLANK_IN_TIME = re.compile(r"(?<=\d{4}-\d\d-\d\d) (?=\d\d:)")
_JOINED = "\0"  # no harmless text has it
_KEPT = str.maketrans("", "", "\n\t")


def harmless(text: str) -> str:
    """Text that can't harm a terminal; line ends and tabs stay."""
    if text.translate(_KEPT).isprintable():
        return text
    return printable(text, also="\n\t")


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text for people on stdout, or on stderr."""
    click.echo(harmless(str(text)), err=err, nl=nl)


def say_data(text: str) -> None:
    """Print data for programs on stdout; unchanged if it is not a terminal."""
    # click.echo removes colours outside a terminal, and so would change data.
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def say_sentence(text: str, indent: str = "", *, further: str | None = None) -> None:
    """Print a sentence on stdout. A terminal gets it in lines that end between words. `further`: what its second line
    begins with, and all after it; None: `indent`.
    """
    say(_filled(indent + text, terminal_width(), indent if further is None else further))


def note(text: str) -> None:
    """Print a sentence on stderr. A terminal gets it in lines that end between words."""
    say(_filled(text, terminal_width(sys.stderr), "  "), err=True)


def _filled(text: str, width: int | None, further: str) -> str:
    whole = harmless(text)
    if width is None:
        return whole
    joined = _BLANK_IN_TIME.sub(_JOINED, whole)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
        if len(line) > width
        else line
        for line in joined.split("\n")
    ).replace(_JOINED, " ")


def say_heading(text: str) -> None:
    """Print the heading of a table on stdout, bold in a capable terminal."""
    plain = harmless(text)
    click.echo(plain if is_dumb() else click.style(plain, bold=True))  # click removes it outside a terminal


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Columns of stdout, or of this stream: COLUMNS, or those of its terminal; None: a pipe or a file."""
    named = os.environ.get("COLUMNS", "")
    if re.fullmatch(r"[1-9][0-9]{0,4}", named):
        return int(named)
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
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
