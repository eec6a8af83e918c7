"""States in a terminal: each has a character and a colour of its own, however many there are."""

from __future__ import annotations

from rich.color import Color, ColorSystem

from collector.reports.timeline.marks import MUTED, MUTED_BASIC, marks
from collector.reports.timeline.palette import KNOWN, RESERVED
from collector.reports.timeline.text import BLOCKS

DOCUMENTED = ("NEW", "ACTIVE", "MAINTENANCE", "INACTIVE", "DELETING", "DELETION_FAILED", "DELETED")
OTHERS = tuple(f"STATE_{n}" for n in range(60))


def test_no_two_states_share_a_character_or_a_colour() -> None:
    for states in (DOCUMENTED, DOCUMENTED + OTHERS[:6], DOCUMENTED + OTHERS[:40]):
        found = marks(states).values()
        assert len(found) == len(states)
        for taken in ([m.colour for m in found], [m.block for m in found], [m.letter for m in found]):
            assert len(set(taken)) == len(states)
            assert MUTED not in taken


def test_colours_stay_apart_in_a_terminal_of_256() -> None:
    found = [mark.colour for mark in marks(DOCUMENTED + OTHERS[:40]).values()]
    numbers = [Color.parse(colour).downgrade(ColorSystem.EIGHT_BIT).number for colour in [*found, MUTED]]
    assert len(set(numbers)) == len(numbers)


def test_documented_states_have_colours_of_their_own_in_a_terminal_of_16() -> None:
    found = [mark.basic for mark in marks(DOCUMENTED + OTHERS[: len(RESERVED)]).values()]
    assert len({*found, MUTED_BASIC}) == len(DOCUMENTED) + len(RESERVED) + 1
    for colour in found:
        Color.parse(colour)


def test_states_beyond_the_reserved_looks_get_a_letter_of_their_name() -> None:
    found = marks([*DOCUMENTED, *OTHERS[:6], "QUARANTINE", "QUIET", "東京"])
    blocks = {look.block for look in (*KNOWN.values(), *RESERVED)}
    extra = {state: mark.block for state, mark in found.items() if mark.block not in blocks}
    assert len(extra) == 3
    assert all(letter.upper() in state for state, letter in extra.items() if state.isascii())


def test_more_states_than_letters_still_have_a_mark_and_a_colour() -> None:
    found = marks(f"STATE_{n}" for n in range(200))
    assert len({(mark.block, mark.colour) for mark in found.values()}) == 200


def test_blocks_are_tried_before_they_are_printed() -> None:
    assert set("░▆▒▄▓▚▂") <= set(BLOCKS.all)
