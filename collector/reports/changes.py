"""What changed: a region's versions, the difference between two times, and why a transition is believed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.errors import UsageError
from collector.gcore import jsontext
from collector.gcore.document import Document
from collector.gcore.listing import listing_of
from collector.inventory.entities import Kind
from collector.nearest import nearest
from collector.reports.asof import as_of, at
from collector.reports.beginnings import beginnings, refuse_before
from collector.reports.columns import OF_ENTITY, OF_SOURCE, SOURCE, Column, Heading, Report
from collector.reports.filters import Row, find_region
from collector.reports.transitions import TransitionFilter, transitions
from collector.reports.words import show_time, transition_in_words
from collector.store.payloads import load
from collector.store.tables import (
    TYPED,
    VERSIONS,
    observations,
    region_versions,
    sources,
)

HISTORY = Report(
    columns=(
        SOURCE,
        Column("region_id", "integer", "id of the region"),
        Column("slug", "text or null", "short name in this version"),
        Column("display_name", "text or null", "name in this version"),
        Column(
            "not_before",
            "time or null",
            "when the last poll that confirmed the version before was asked; null: no lower bound is known",
        ),
        Column("valid_from", "time", "when this version was first seen"),
        Column(
            "valid_to",
            "time or null",
            "when it was first seen with other values or absent; null: still in force",
        ),
        Column("seq", "integer", "observation that first showed this version"),
        Column(
            "field",
            "text or null",
            "what changed: a field of `regions`; null: the region was listed (again)",
        ),
        Column("old", "any or null", "value before"),
        Column("new", "any or null", "value after; the state if `field` is null"),
    ),
    table={
        "source": OF_SOURCE,
        "region_id": Heading("id", 4),
        "not_before": Heading("not before", 3),
        "valid_from": Heading("since"),
        "valid_to": Heading("until", 2),
        "field": Heading("field"),
        "old": Heading("old"),
        "new": Heading("new"),
        "seq": Heading("observation", 5),
    },
)
DIFF = Report(
    columns=(
        SOURCE,
        Column("entity", "text", "`region`, `keystone` or `metrics_database`"),
        Column("entity_id", "integer", "its id"),
        Column(
            "name",
            "text or null",
            "display name of a region, URL of a keystone, host of a metrics database; at the later time",
        ),
        Column("kind", "text", "`appeared`, `disappeared`, `changed`"),
        Column(
            "field",
            "text or null",
            "what differs; `state` for an appearance or disappearance, or null if the entity has no state",
        ),
        Column("old", "any or null", "value at the first time"),
        Column("new", "any or null", "value at the second time"),
    ),
    table={
        "source": OF_SOURCE,
        "entity": OF_ENTITY,
        "entity_id": Heading("id", 3),
        "name": Heading("name"),
        "kind": Heading("kind", 4),
        "field": Heading("field"),
        "old": Heading("old"),
        "new": Heading("new"),
    },
)


def region_history(connection: sa.Connection, region: str, source: str | None = None) -> list[Row]:
    """All versions of a region, oldest first, with one row per changed field: `field`, `old`, `new`.

    The field is None if the region was listed for the first time, or again. `valid_to` is None while the version is in
    force. The version began to be true between `not_before` and `valid_from`.
    """
    found = find_region(connection, region, source)
    v, s = region_versions.c, sources.c
    rows: list[Row] = []
    for source_id, region_id in found:
        before: Mapping[str, Any] | None = None
        versions = connection.execute(
            sa.select(s.name.label("source"), region_versions)
            .join(sources, s.id == v.source_id)
            .where(v.source_id == source_id, v.region_id == region_id)
            .order_by(v.valid_from)
        ).mappings()
        for version in versions:
            is_listed_anew = before is None or before["valid_to"] != version["valid_from"]
            head = {
                "source": version["source"],
                "region_id": region_id,
                "slug": version["slug"],
                "display_name": version["display_name"],
                "not_before": version["not_before"],
                "valid_from": version["valid_from"],
                "valid_to": version["valid_to"],
                "seq": version["seq"],
            }
            if is_listed_anew:
                rows.append(head | {"field": None, "old": None, "new": version["state"]})
            if before is not None:
                rows += [
                    head | {"field": name, "old": before[name], "new": version[name]}
                    for name in version["changed_fields"]
                ]
            before = dict(version)
    return rows


def inventory_diff(
    connection: sa.Connection, earlier: datetime, later: datetime, source: str | None = None
) -> list[Row]:
    """What differs between two times, for regions, keystones and metrics databases.

    `kind`: appeared, disappeared, or changed with `field`, `old` and `new`. A change that was undone in between is not
    shown.
    """
    rows: list[Row] = []
    for kind in VERSIONS:
        before = _in_force(connection, kind, earlier, source)
        after = _in_force(connection, kind, later, source)
        for key in sorted(before.keys() | after.keys()):
            old, new = before.get(key), after.get(key)
            either = new or old or {}
            name = either.get("display_name") or either.get("url") or either.get("host")
            head = {"source": key[0], "entity": kind, "entity_id": key[1], "name": name}
            if old is None or new is None:
                change = "appeared" if old is None else "disappeared"
                state = "state" if "state" in either else None
                rows.append(
                    head
                    | {
                        "kind": change,
                        "field": state,
                        "old": old and old.get("state"),
                        "new": new and new.get("state"),
                    }
                )
            else:
                rows += [
                    head | {"kind": "changed", "field": f, "old": old[f], "new": new[f]}
                    for f in TYPED[kind]
                    if old[f] != new[f]
                ]
    return rows


def _in_force(
    connection: sa.Connection, kind: Kind, moment: datetime, source: str | None
) -> dict[tuple[str, int], Mapping[str, Any]]:
    """The entities in force at a time, with their fields, by source and id."""
    refuse_before(connection, moment, source)
    query = as_of(kind, at(moment), source)
    c = query.selected_columns
    query = query.with_only_columns(c.source, c[f"{kind}_id"], *(c[name] for name in TYPED[kind]))
    rows = connection.execute(query).mappings()
    return {(row["source"], row[f"{kind}_id"]): dict(row) for row in rows}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a transition is believed."""

    sentence: str
    transition: Row
    confirmed: Row | None
    """The observation that last confirmed the old state."""
    between: tuple[Row, ...]
    """Observations between the two."""
    showed: Row
    """The observation that first showed the new state."""
    differences: tuple[tuple[str, str | None, str | None], ...]
    """How the two records differ: path, old and new JSON text. None: missing."""


def explain(connection: sa.Connection, reference: str, source: str | None = None) -> Explanation:
    """Explain a transition by its reference `SEQ/ENTITY/ID`, or the newest one of a region by the region's name.

    Raises UsageError if there is none.
    """
    match = _REFERENCE.fullmatch(reference.strip()) or _newest_of_region(connection, reference, source)
    if match is None:
        raise UsageError(f"{reference!r} is not a transition; {_references(connection, reference, source)}")
    seq, entity, entity_id = int(match[1]), match[2], int(match[3])
    wanted = TransitionFilter(source=source, entity=entity, seq=seq)
    rows = transitions(connection, wanted) if seq < 2**63 else []  # no database counts further
    found = [row for row in rows if row["entity_id"] == entity_id]
    if not found:
        raise UsageError(f"there is no transition {reference}; {_references(connection, reference, source)}")
    if len(found) > 1:
        names = ", ".join(row["source"] for row in found)
        raise UsageError(f"several sources have a transition {reference}; add --source with one of: {names}")
    row = found[0]
    begun = beginnings(connection, row["source"]).get(row["source"])
    if begun is not None and seq <= begun.seq:
        raise UsageError(
            f"the history of {row['source']} begins at {show_time(begun.at)}: what {reference} rests on was pruned"
        )
    o = observations.c
    source_id = connection.scalar(sa.select(sources.c.id).where(sources.c.name == row["source"]))
    query = sa.select(observations).where(o.source_id == source_id)
    showed = dict(connection.execute(query.where(o.seq == seq)).mappings().one())
    confirmed: Row | None = None
    between: tuple[Row, ...] = ()
    if row["not_before"] is not None:
        asked = query.where(o.last_asked_at == row["not_before"], o.seq < seq, o.outcome != "failed")
        found_it = connection.execute(asked.order_by(o.seq.desc()).limit(1)).mappings().first()
        confirmed = dict(found_it) if found_it else None
        polls = query.where(o.seq > (confirmed["seq"] if confirmed else 0), o.seq < seq).order_by(o.seq)
        between = tuple(dict(r) for r in connection.execute(polls).mappings())
    if row["not_before"] is not None and (
        confirmed is None or (begun is not None and confirmed["seq"] < begun.seq)
    ):
        return Explanation(transition_in_words(row), row, None, between, showed, ())
    old, new = (
        _record(load(connection, int(source_id or 0), each["payload"]), entity, entity_id) if each else None
        for each in (confirmed, showed)
    )
    return Explanation(
        sentence=transition_in_words(row),
        transition=row,
        confirmed=confirmed,
        between=between,
        showed=showed,
        differences=tuple(_differences(old, new)),
    )


_REFERENCE = re.compile(r"([0-9]{1,40})/(region|keystone)/(-?[0-9]{1,40})")


def _newest_of_region(connection: sa.Connection, name: str, source: str | None) -> re.Match[str] | None:
    """The reference of the newest transition of a region; None for what is no name, but half a reference.

    Raises UsageError if there is no such region.
    """
    if "/" in name or not name.strip() or name.strip().isdecimal():
        return None
    wanted = TransitionFilter(source=source, region=name, entity="region", limit=1)
    newest = transitions(connection, wanted)
    return _REFERENCE.fullmatch(str(newest[0]["transition"])) if newest else None


def _references(connection: sa.Connection, reference: str, source: str | None) -> str:
    """The transitions that an observation showed, if a reference begins with its number."""
    begin = re.match(r"\s*([0-9]{1,18})(/|\s*$)", reference)
    if begin is not None:
        wanted = TransitionFilter(source=source, seq=int(begin[1]), limit=1000)
        found = [str(row["transition"]) for row in transitions(connection, wanted)]
        if found:
            close = nearest(reference, found) or found[:3]
            return f"observation {begin[1]} showed {', '.join(close)}" + (
                f" and {len(found) - len(close):,} more" if len(found) > len(close) else ""
            )
    return "`collector transitions` lists them, like 12/region/76"


def _record(document: Document, entity: str, entity_id: int) -> Any:
    """The record of a region in an answer, or the copy of a keystone that was used; None if it is missing."""
    kind: Kind = "region" if entity == "region" else "keystone"
    seen = listing_of(document).shown[kind].sightings.get(entity_id)
    region_id = entity_id if kind == "region" else seen.witness if seen else None
    for record in document.records:
        number = record.value.get("id") if isinstance(record.value, dict) else None
        if isinstance(number, jsontext.Number) and number.as_int() == region_id:
            return record.value if kind == "region" else record.value.get("keystone")
    return None


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str | None, str | None]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            here = f"{path}.{name}" if path else name
            if name not in old or name not in new:
                sides = [jsontext.dumps(side[name]) if name in side else None for side in (old, new)]
                yield here, sides[0], sides[1]
            else:
                yield from _differences(old[name], new[name], here)
    elif old != new:
        shown = [None if side is None and not path else jsontext.dumps(side) for side in (old, new)]
        yield path or "record", shown[0], shown[1]


def readable(text: str | None) -> str:
    """JSON text for people: shortened, `nothing` if there is none."""
    if text is None:
        return "nothing"
    return text if len(text) <= 200 else text[:199] + "…"
