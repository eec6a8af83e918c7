"""The look of each state: a colour that colour-blind people can distinguish, and a second sign.

Colours follow Okabe and Ito. A pattern and the brightness repeat them, so that a grey print can be read; in a terminal
the character does. States that the API documents look the same in every picture. Other states get a look from a
reserved list, by their name; if two of them have the same one, the later in the alphabet takes the next.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.days import CHANGING


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is drawn. `key`: its name in the style sheet."""

    key: str
    fill: str
    ink: str
    """Colour of text in a bar."""
    mark: str
    """Colour of the pattern on the bar."""
    pattern: str
    """plain, dots, lines, bars, cross, grid, rings or slant."""
    block: str
    letter: str
    """In a terminal: a block character, and its replacement in ASCII."""
    dark_fill: str = ""
    """The colour in dark mode; empty: the same."""
    dark_ink: str = ""


_ACTIVE = Look("active", "#168063", "#ffffff", "", "plain", "▆", "#", "#1b8d6e")
_FAILED = Look("failed", "#80133f", "#ffffff", "#b5527c", "cross", "▚", "!", "#a8305f")

KNOWN = {
    "NEW": Look("new", "#a9d7f5", "#08324d", "", "plain", "░", "n", "#8cc5ea"),
    "ACTIVE": _ACTIVE,
    "MAINTENANCE": Look("maintenance", "#f0a818", "#2f1d00", "#9c6400", "dots", "▒", "m"),
    "INACTIVE": Look("inactive", "#d49abb", "#35122a", "#a9608c", "lines", "▄", "i"),
    "DELETING": Look("deleting", "#cf5a0a", "#ffffff", "#eb9a5e", "bars", "▓", "d"),
    "DELETION_FAILED": _FAILED,
    "DELETED": Look("deleted", "#40454d", "#ffffff", "#747c87", "slant", "▂", "x", "#aab1bb", "#12161c"),
    "INITIALIZED": _ACTIVE,
    "INITIALIZATION_FAILED": _FAILED,
}
"""The states in the API's schema, for regions and keystones, with their look in every picture."""

RESERVED = (
    Look("other0", "#2b6cb8", "#ffffff", "#8db9ea", "rings", "▞", "a"),
    Look("other1", "#efe36a", "#332f00", "#a39618", "grid", "▙", "b"),
    Look("other2", "#7a5aa6", "#ffffff", "#bca4dd", "dots", "▜", "c"),
    Look("other3", "#62bfc4", "#06282a", "#26797e", "bars", "▛", "e"),
    Look("other4", "#8a5a2b", "#ffffff", "#cfa272", "grid", "▟", "f"),
    Look("other5", "#c3cf8a", "#252b06", "#7d8a3c", "lines", "▝", "g"),
)

EVERY = tuple({look.key: look for look in (*KNOWN.values(), *RESERVED)}.values())
"""All looks that a picture may need."""

ORDER = (
    *("NEW", "ACTIVE", "INITIALIZED", "MAINTENANCE", "INACTIVE"),
    *("DELETING", "DELETION_FAILED", "INITIALIZATION_FAILED", "DELETED"),
)
"""The order in legends, and from bottom to top in a piece with several states."""


def looks(states: Iterable[str]) -> dict[str, Look]:
    """The look of each state except ABSENT and UNKNOWN, in the order of a legend."""
    there = set(states) - {ABSENT, UNKNOWN}
    found = {state: KNOWN[state] for state in ORDER if state in there}
    taken: set[int] = set()
    others: dict[str, Look] = {}
    for state in sorted(there - KNOWN.keys()):
        first = zlib.crc32(state.encode("utf-8", "replace")) % len(RESERVED)
        turn = [(first + n) % len(RESERVED) for n in range(len(RESERVED))]
        place = next((n for n in turn if n not in taken), first)
        taken.add(place)
        others[state] = RESERVED[place]
    return found | others


def rank(state: str) -> tuple[int, str]:
    """Sorts states: as in ORDER, then others by name, then changes, unknown time and absence."""
    return _RANKS.get(state, len(ORDER)), state


_RANKS = {state: n for n, state in enumerate(ORDER)}
_RANKS |= {CHANGING: len(ORDER) + 1, UNKNOWN: len(ORDER) + 2, ABSENT: len(ORDER) + 3}
