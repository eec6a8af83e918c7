"""Text that can be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text that can do a terminal, or a picture, no harm; line ends and tabs are replaced too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
