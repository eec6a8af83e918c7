"""Which states and places are on record, so that a mistyped word is not answered with nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import sqlalchemy as sa

from collector.errors import UsageError
from collector.gcore.enums import KeystoneState, RegionState, Zone
from collector.inventory.spans import ABSENT
from collector.nearest import instead
from collector.reports.filters import Row
from collector.store.tables import keystones, region_versions, regions, state_transitions

Place = Literal["zone", "country"]
_STATES: dict[str, tuple[str, ...]] = {"region": get_args(RegionState), "keystone": get_args(KeystoneState)}


def check_state(
    connection: sa.Connection, word: str, entity: str | None = None, *, or_absent: bool = False
) -> str | None:
    """A sentence if the state is documented and no region, or keystone, was ever in it; None if one was.

    `entity`: None is any. `or_absent`: ABSENT counts as a state, too. Raises UsageError, which names the closest
    states, for a state that is neither documented nor on record.
    """
    entities = (entity,) if entity else tuple(_STATES)
    documented = {state for each in entities for state in _STATES[each]}
    if or_absent:
        documented.add(ABSENT)
    whose = " or ".join(entities)
    recorded = _states(connection, entities) | ({ABSENT} if or_absent else set())
    return _judged(word, recorded, documented, f"no {whose} was ever in state {word!r}")


def check_place(connection: sa.Connection, kind: Place, word: str) -> str | None:
    """The same of a zone or a country."""
    documented = set(get_args(Zone)) if kind == "zone" else set()
    queries = (sa.select(table.c[kind]).distinct() for table in (regions, region_versions))
    recorded = {name for query in queries for name in connection.scalars(query) if name}
    return _judged(word, recorded, documented, f"no region was ever in {kind} {word!r}")


def never_recorded(
    connection: sa.Connection,
    *,
    states: Iterable[str | None] = (),
    entity: str | None = "region",
    or_absent: bool = False,
    zone: str | None = None,
    country: str | None = None,
) -> list[str]:
    """A sentence for each of these words that is documented, but was never on record. Raises UsageError as
    `check_state` and `check_place` do.
    """
    said = [check_state(connection, state, entity, or_absent=or_absent) for state in states if state]
    said += [check_place(connection, "zone", zone)] if zone else []
    said += [check_place(connection, "country", country)] if country else []
    return [each for each in said if each]


def unless_mistyped(
    connection: sa.Connection,
    rows: Iterable[Row],
    *,
    states: Iterable[str | None] = (),
    entity: str | None = "region",
    zone: str | None = None,
    country: str | None = None,
) -> Iterator[Row]:
    """Rows that were asked for by these words. If there are none, raises UsageError for a word that is neither
    documented nor on record.
    """
    is_empty = True
    for row in rows:
        is_empty = False
        yield row
    if is_empty:
        never_recorded(connection, states=states, entity=entity, zone=zone, country=country)


def _judged(word: str, recorded: set[str], documented: set[str], said: str) -> str | None:
    if word.casefold() in {name.casefold() for name in recorded}:
        return None
    if word.casefold() in {name.casefold() for name in documented}:
        return said
    raise UsageError(f"{said}; {instead(word, sorted(recorded) + sorted(documented - recorded))}")


def _states(connection: sa.Connection, entities: tuple[str, ...]) -> set[str]:
    t = state_transitions.c
    tables = {"region": regions, "keystone": keystones}
    queries = [
        *(
            sa.select(column).where(t.entity.in_(entities)).distinct()
            for column in (t.from_state, t.to_state)
        ),
        *(sa.select(tables[each].c.state).distinct() for each in entities),
    ]
    return {state for query in queries for state in connection.scalars(query) if state}
