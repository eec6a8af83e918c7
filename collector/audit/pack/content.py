"""What a pack says beside its listings: claims, anchors, and the page that a person reads first."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

import sqlalchemy as sa

from collector.audit.claims import PRUNED, in_words, keys_in_words, limits, redacted_in
from collector.audit.runs import Run, observed, runs
from collector.clock import time_text
from collector.inventory.chain import plain
from collector.printable import brief, printable
from collector.reports.words import show_time
from collector.store.amendments import beginning
from collector.store.tables import anchors, state_transitions

_a, _t = anchors.c, state_transitions.c
Json = dict[str, Any]


def claims_of(
    connection: sa.Connection,
    source_id: int,
    regions: Collection[int] | None,
    extent: tuple[int, int],
    start: datetime,
    end: datetime,
) -> list[Run]:
    """The runs that overlap a time, by region, as the observations of a pack show them.

    `extent`: the first and the last of these observations.
    """
    first_seq, last_seq = extent
    query = sa.select(_t.entity_id).where(
        _t.source_id == source_id, _t.entity == "region", _t.seq <= last_seq
    )
    known = set(connection.scalars(query.distinct()))
    rows = observed(connection, source_id, first_seq, last_seq)
    found = []
    for region_id in sorted(known if regions is None else known & set(regions)):
        for run in runs(connection, source_id, region_id, rows):
            # A region that is absent when the pack begins is in none of its answers.
            is_of_the_pack = run.state is not None or run.first_seq > first_seq
            if is_of_the_pack and run.from_at < end and max(run.from_at, run.until_at) >= start:
                found.append(run)
    return found


def limits_of(
    connection: sa.Connection,
    source_id: int,
    claims: Sequence[Run],
    extent: tuple[int, int],
    newest_seq: int,
) -> list[tuple[Run, tuple[str, ...]]]:
    """The claims of a pack, each with what could not be known from its answers."""
    first_seq, last_seq = extent
    begins = beginning(connection, source_id)
    earlier = PRUNED if begins else None
    if first_seq > (begins.begins_seq if begins else 1):
        earlier = "this pack contains no earlier answer"
    redacted = redacted_in(connection, source_id, observed(connection, source_id, *extent), claims)
    return [
        (
            run,
            limits(
                run,
                earlier=earlier if run.first_seq == first_seq else None,
                goes_on=last_seq < newest_seq,
                redacted=count,
            ),
        )
        for run, count in zip(claims, redacted, strict=True)
    ]


def claim_row(run: Run) -> Json:
    """A line of claims.jsonl."""
    return {
        "region_id": run.region_id,
        "name": run.name,
        "state": run.state,
        "from_at": time_text(run.from_at),
        "until_at": time_text(run.until_at),
        "polls": run.polls,
        "first_seq": run.first_seq,
        "last_seq": run.last_seq,
        "keys": list(run.keys),
        "blind": [[time_text(each.from_at), time_text(each.until_at)] for each in run.blind],
    }


def anchor_rows(connection: sa.Connection, source_id: int, first_seq: int) -> list[Json]:
    """The lines of anchors.jsonl: all anchors from the first one of an observation in the pack on."""
    mine = _a.source_id == source_id
    first = sa.select(sa.func.min(_a.number)).where(mine, _a.seq >= first_seq).scalar_subquery()
    query = sa.select(anchors).where(mine, _a.number >= first, _a.outcome != "pending").order_by(_a.number)
    return [
        {name: _as_json(value) for name, value in row.items() if name != "source_id"}
        for row in connection.execute(query).mappings()
    ]


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return plain(value)


def page(
    facts: Mapping[str, Any],
    claims: Sequence[tuple[Run, tuple[str, ...]]],
    anchored: Sequence[Json],
    gaps: Sequence[Json],
) -> str:
    """index.html, with the claims and their limits first. Everything from the API is escaped."""
    from jinja2 import Environment, StrictUndefined

    text = resources.files(__package__).joinpath("index.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["when"] = lambda text: show_time(datetime.fromisoformat(text))
    told = [
        {"region_id": run.region_id, "sentence": in_words(run), "limits": unknown[:-1], "run": run}
        for run, unknown in claims
    ]
    keys = sorted({key for run, _ in claims for key in run.keys})
    names = {run.region_id: f"{brief(run.name)} (region {run.region_id})" for run, _ in claims}
    return environment.from_string(text).render(
        facts=facts,
        claims=told,
        names=names,
        keys=[(keys_in_words([key]), key) for key in keys if key not in ("", "import")],
        anchors=[row for row in anchored if row["outcome"] == "anchored"],
        gaps=gaps,
        printable=printable,
    )
