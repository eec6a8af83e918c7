"""Text that can be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text that can't harm a terminal or a picture; line ends and tabs are replaced, too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
