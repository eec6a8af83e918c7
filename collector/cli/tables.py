"""Rows as a table for people, no wider than their terminal.

Columns are left out by their rank until the rest fits; texts are broken into lines. If not even the columns of rank 1
fit, each row is a block of lines. Widths are columns of a terminal: a wide character takes two, a combining one none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from collector.reports.columns import Heading
from collector.reports.timeline.measure import columns

GAP = 2
"""Blanks between two columns."""
LONG = 30
"""A longer text is broken into lines before another column is left out for it."""
SHORT = 14
"""A column of rank 1 is not made narrower than this."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was laid out."""

    heading: tuple[str, ...]
    """Lines of the heading; blocks have none."""
    lines: tuple[str, ...]
    left_out: tuple[int, ...] = ()
    """Columns that did not fit, from left to right."""


def lay_out(
    headings: Sequence[Heading], rows: Sequence[Sequence[str]], width: int | None, *, keep_empty: bool = False
) -> Table:
    """Lay out rows of texts, one for each heading. `width`: None is as wide as it takes, one line a row.

    A column without a value takes no room, unless `keep_empty`. Then a single row that does not fit is a block, too.
    """
    names = [heading.text for heading in headings]
    needs = [max(columns(text) for text in each) for each in zip(names, *rows, strict=True)]
    if width is None:
        return _table(names, rows, dict(enumerate(needs)))
    values = [{row[n] for row in rows} for n in range(len(names))]
    least = [
        max(*map(columns, name.split()), *map(columns, texts))
        for name, texts in zip(names, values, strict=True)
    ]
    wanted = [n for n in range(len(names)) if keep_empty or not _says_nothing(headings[n], values[n])]
    ranks = [headings[n].rank for n in wanted]
    widths = _fitted(ranks, [least[n] for n in wanted], [needs[n] for n in wanted], width)
    if widths is None or (keep_empty and len(rows) == 1 and not all(widths)):
        return Table((), tuple(_blocks(names, rows, width)))
    kept = {n: each for n, each in zip(wanted, widths, strict=True) if each}
    return _table(names, rows, kept, tuple(n for n in wanted if n not in kept))


def _says_nothing(heading: Heading, values: set[str]) -> bool:
    """True if a column is empty, or if it only tells rows apart and does not."""
    return heading.rank > 1 and (values == {""} or (heading.tells_apart and len(values) == 1))


def _fitted(ranks: Sequence[int], least: Sequence[int], needs: Sequence[int], width: int) -> list[int] | None:
    """How wide each column is to be, 0: left out. None if not even those of rank 1 fit.

    `needs`: what a column takes on one line; `least`: the same with its heading broken at blanks.
    """
    widths = [min(need, SHORT) if rank == 1 else 0 for rank, need in zip(ranks, least, strict=True)]
    room = width + GAP - sum(each + GAP for each in widths if each)
    if room < 0:
        return None

    def widen(n: int, most: int) -> None:
        nonlocal room
        more = max(min(most, widths[n] + room) - widths[n], 0)
        widths[n] += more
        room -= more

    kept = sorted((n for n, each in enumerate(widths) if each), key=lambda n: needs[n])
    for n in kept:
        widen(n, min(least[n], LONG))
    for n in sorted((n for n, rank in enumerate(ranks) if rank > 1), key=lambda n: ranks[n]):
        capped = min(least[n], LONG)
        if capped + GAP <= room:
            widths[n] = capped
            room -= capped + GAP
            kept.append(n)
    for n in kept:
        widen(n, needs[n])
    return widths


def _table(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Mapping[int, int],
    left_out: tuple[int, ...] = (),
) -> Table:
    """A table of the columns that have a width."""

    def lines(row: Sequence[str]) -> Iterator[str]:
        cells = [wrapped(row[n], width) for n, width in widths.items()]
        for number in range(max(len(cell) for cell in cells)):
            texts = [cell[number] if number < len(cell) else "" for cell in cells]
            padded = [_padded(text, width) for text, width in zip(texts, widths.values(), strict=True)]
            yield (" " * GAP).join(padded).rstrip()

    return Table(tuple(lines(names)), tuple(line for row in rows for line in lines(row)), left_out)


def _blocks(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """A line for each value that is not empty, and an empty line between two rows."""
    names = max(columns(heading) for heading in headings)
    room = max(width - names - GAP, 8)
    for number, row in enumerate(rows):
        if number:
            yield ""
        for heading, text in zip(headings, row, strict=True):
            first, *more = wrapped(text, room)
            if first:
                yield f"{_padded(heading, names)}  {first}"
            yield from (" " * (names + GAP) + line for line in more)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def wrapped(text: str, width: int) -> list[str]:
    """A text as lines of this width, broken at blanks where there are any. At least one line."""
    if columns(text) <= width:
        return [text]
    lines = [""]
    taken = 0
    for word in text.split(" "):
        size = columns(word)
        if lines[-1] and taken + 1 + size <= width:
            lines[-1] += f" {word}"
            taken += 1 + size
            continue
        pieces = list(_pieces(word, width))
        lines = lines + pieces if lines[-1] else lines[:-1] + pieces
        taken = columns(lines[-1])
    return lines


def _pieces(word: str, width: int) -> Iterator[str]:
    """A word, broken where it does not fit. A character wider than the width has a line of its own."""
    piece, taken = "", 0
    for character in word:
        size = columns(character)
        if piece and taken + size > width:
            yield piece
            piece, taken = "", 0
        piece += character
        taken += size
    yield piece
