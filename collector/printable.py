"""Text that can be shown."""

from __future__ import annotations

_BLANKS = dict.fromkeys([0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
"""Blanks of other widths or that don't break lines, as in names that were copied from a page."""


def printable(text: str, also: str = "") -> str:
    """Text that can't harm a terminal or a picture; line ends and tabs are replaced, too. `also`: what stays."""
    if text.isprintable():
        return text
    shown = text.translate(_BLANKS)
    return "".join(c if c.isprintable() or c in also else "\N{REPLACEMENT CHARACTER}" for c in shown)


def brief(text: str, limit: int = 100) -> str:
    """A text in a sentence: printable, on one line, shortened if no person made it."""
    text = printable(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def counted(number: int, word: str, plural: str = "") -> str:
    """`1 region`, `3 regions`, `2 metrics databases`; `plural`: if it is not the word with an s."""
    name = word if number == 1 else plural or f"{word}s"
    return f"{number:,} {name.replace('_', ' ')}"
