"""Text that can be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text that can't harm a terminal or a picture; line ends and tabs are replaced, too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def brief(text: str, limit: int = 100) -> str:
    """A text in a sentence: printable, on one line, shortened if no person made it."""
    text = printable(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def counted(number: int, word: str, plural: str = "") -> str:
    """`1 region`, `3 regions`, `2 metrics databases`; `plural`: if it is not the word with an s."""
    name = word if number == 1 else plural or f"{word}s"
    return f"{number:,} {name.replace('_', ' ')}"
