"""The width of a text. The font of a viewer is unknown, so these are the widths of a wide font."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

_WIDTHS = {
    **dict.fromkeys("ijlI'|J", 0.3),
    **dict.fromkeys("ftr.,:;!/\\()[]- ", 0.41),
    **dict.fromkeys('sckvxyz_"*?', 0.57),
    **dict.fromkeys("0123456789abdeghnopquEFLTPSY", 0.64),
    **dict.fromkeys("ABCDGHKNOQRUVXZ&+=<>~#$", 0.76),
    **dict.fromkeys("mwMW%@…", 0.99),
}
_BOLD = 1.1


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """The width in pixels, at a font size in pixels."""
    return sum(_of(c) for c in text) * size * (_BOLD if bold else 1)


def _of(character: str) -> float:
    if character in _WIDTHS:
        return _WIDTHS[character]
    if unicodedata.combining(character):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(character) in "WF" else 0.76


def columns(text: str) -> int:
    """The width of a text in terminal columns. Wide characters take two; combining characters take none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text)) + text.count(_AS_EMOJI)


_AS_EMOJI = "\ufe0f"
"""Turns the narrow character before it into a wide emoji."""


def _columns_of(character: str) -> int:
    is_inner_letter = "\u1160" <= character <= "\u11ff"  # of a Hangul syllable that is spelled out
    if is_inner_letter or unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, room: float, size: float | None = None, *, bold: bool = False) -> str:
    """The text, shortened with `…` to a width: pixels at a font size, or columns of a terminal."""

    def width(candidate: str) -> float:
        return columns(candidate) if size is None else text_width(candidate, size, bold=bold)

    if width(text) <= room:
        return text
    fitting = bisect_right(range(len(text)), room, key=lambda length: width(text[:length] + "…"))
    return text[: max(fitting - 1, 0)].rstrip() + "…"
