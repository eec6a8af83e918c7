"""What states look like in a terminal: each has a character and a colour that no other state of the picture has.

Documented states look the same in every picture. A state beyond the looks that the palette reserves gets a letter of
its name, and a colour of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import count, islice, product
from string import ascii_letters, digits

from collector.reports.timeline.palette import KNOWN, RESERVED, Look, looks

MUTED, MUTED_BASIC = "#808890", "bright_black"
"""Colour of what is no state: unknown time, absence, the axis."""
_ON_ANY_GROUND = {"new": "#4a9fd6", "deleted": "#8787af", "other1": "#d7af00", "other3": "#00afaf"}
"""Nobody knows if the terminal is light or dark."""
_BASIC = {
    "new": "bright_blue",
    "active": "green",
    "maintenance": "yellow",
    "inactive": "magenta",
    "deleting": "bright_red",
    "failed": "red",
    "deleted": "blue",
    "other0": "cyan",
    "other1": "bright_yellow",
    "other2": "bright_magenta",
    "other3": "bright_cyan",
    "other4": "bright_green",
    "other5": "white",
}
"""For terminals that know 16 colours only, by key of the look."""
_TRIES = 216
_STRIDE = 37
"""Steps between the colours of two states, so that neighbours differ."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How one state is printed."""

    block: str
    letter: str
    """Used if block characters can't be printed."""
    colour: str
    basic: str
    """The colour in a terminal that knows only 16; empty: the default one."""


def marks(states: Iterable[str]) -> dict[str, Mark]:
    """The mark of each state, in the order of a legend; none for ABSENT and UNKNOWN."""
    found: dict[str, Mark] = {}
    taken: set[str] = set()
    extra: list[str] = []
    for state, look in looks(states).items():
        if look.key in taken:
            extra.append(state)
        else:
            taken.add(look.key)
            found[state] = mark_of(look)
    used: defaultdict[str, set[str]] = defaultdict(set)
    for mark in found.values():
        used[mark.block].add(mark.colour)
    colours = _colours()
    for number, state in enumerate(extra):
        letter = _letter(state, used.keys() | _LETTERS, number)
        # A letter that was used with every colour is used again in the default one.
        colour = next((each for each in islice(colours, _TRIES) if each not in used[letter]), "")
        used[letter].add(colour)
        found[state] = Mark(letter, letter, colour, "")
    return found


def mark_of(look: Look) -> Mark:
    """The mark that goes with a look."""
    return Mark(look.block, look.letter, _colour(look), _BASIC[look.key])


def _colour(look: Look) -> str:
    return _ON_ANY_GROUND.get(look.key, look.dark_fill or look.fill)


_LETTERS = {look.letter for look in (*KNOWN.values(), *RESERVED)}


def _letter(state: str, taken: Set[str], number: int) -> str:
    """A letter of a state that no other state has; if there is none, a letter that only few have."""
    wanted = [c for c in state.upper() if c.isascii() and c.isalnum()]
    every = ascii_letters + digits
    return next((c for c in (*wanted, *every) if c not in taken), every[number % len(every)])


def _colours() -> Iterator[str]:
    """Colours of the cube of 216 that most terminals know, neither too light nor too dark, and again from the first."""
    fixed = [_colour(look) for look in (*KNOWN.values(), *RESERVED)]
    taken = {tuple(min(_LEVELS, key=lambda level: abs(level - v)) for v in _rgb(colour)) for colour in fixed}
    cube = (rgb for rgb in product(_LEVELS, repeat=3) if rgb not in taken)
    usable = [
        rgb
        for rgb in cube
        if 80 <= 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2] <= 190 and max(rgb) - min(rgb) >= 80
    ]
    for n in count():
        red, green, blue = usable[n * _STRIDE % len(usable)]
        yield f"#{red:02x}{green:02x}{blue:02x}"


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


_LEVELS = (0, 95, 135, 175, 215, 255)
