"""The anchors on record: are they what was handed out, and is the history still the one that they are of?

Anchors are numbered without holes and linked by digests, so one that was altered, or taken out from between others, is
found. Each is compared with the observation that it is of: its opening digest has to be the same, and its counters can
only have grown. What proves more is outside: the signature of a time-stamping authority, or a line in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from collector.audit.anchoring import timestamps
from collector.audit.anchoring.outside import Line, Outside
from collector.audit.anchoring.signing import is_signed, name_of
from collector.audit.findings import Findings
from collector.inventory import chain, statement
from collector.store.tables import anchors, observations

BATCH = 500
Proof = Literal["token", "outside", "signature", "unchecked token", "on record"]
PROVING: tuple[Proof, ...] = ("token", "outside", "signature")
"""What who writes the database can't make."""
_a, _o = anchors.c, observations.c


@dataclass(frozen=True, slots=True)
class Anchored:
    """What one place has of a source: its newest good anchor covers everything before it too."""

    target: str
    kind: str
    anchored: int = 0
    """Anchors that it took."""
    failed: int = 0
    """Anchors that it did not take."""
    number: int | None = None
    """The newest that it took: its number,"""
    seq: int | None = None
    """the observation that it is of,"""
    until: datetime | None = None
    """the newest answer that it covers,"""
    made_at: datetime | None = None
    attested_at: datetime | None = None
    """and the time that an authority put into its token."""
    proof: Proof = "on record"
    """What shows that it was not made later: of the newest of those with the best proof."""
    proven_seq: int | None = None
    """Observations up to this one, and"""
    proven_until: datetime | None = None
    """answers up to this time, are covered by an anchor that who writes the database could not have made."""
    failing: str | None = None
    """Why it did not take the newest one."""


def check_anchors(
    live: sa.Connection, source_id: int, source: str, outside: Outside, found: Findings
) -> tuple[Anchored, ...]:
    """Check all anchors of a source; what is wrong goes to `found`. Returns what each place has."""
    joined = (_o.source_id == _a.source_id) & (_o.seq == _a.seq)
    now = ("opening_digest", *chain.CLOSING)
    rows = live.execute(
        sa.select(anchors, *(_o[name].label(f"{name}_now") for name in now))
        .outerjoin(observations, joined)
        .where(_a.source_id == source_id)
        .order_by(_a.number),
        execution_options={"yield_per": BATCH},
    ).mappings()
    begins = _begins(live, source_id)
    places: dict[str, Anchored] = {}
    expected, previous = 1, chain.GENESIS
    for each in rows:
        row = dict(each) | {"source": source}
        for number in range(expected, row["number"]):
            found.add("anchors", {"number": number}, "this row is missing")
            previous = ""
        _check_row(row, previous, found)
        if row["opening_digest_now"] is not None or row["seq"] >= begins:
            _check_against_history(row, found)
        proof = _proof(row, outside, found)
        place = places.get(row["target"], Anchored(row["target"], row["kind"]))
        places[row["target"]] = _with(place, row, proof)
        expected, previous = row["number"] + 1, row["digest"] or ""
    for (name, number), lines in sorted(outside.lines.items()):
        if name == source and number >= expected:
            why = f"this row is missing: {lines[0].where} holds it"
            found.add("anchors", {"number": number}, why)
    return tuple(places[name] for name in sorted(places))


def _begins(live: sa.Connection, source_id: int) -> int:
    """The observation from which on none is missing. Whether earlier ones may be gone, the step of the chain says."""
    before = observations.alias("before").c
    is_first = ~sa.exists().where(before.source_id == _o.source_id, before.seq == _o.seq - 1)
    query = sa.select(sa.func.max(_o.seq)).where(_o.source_id == source_id, is_first)
    return live.scalar(query) or 1


def _check_row(row: Mapping[str, Any], previous: str, found: Findings) -> None:
    key = {"number": row["number"]}
    if previous and row["previous_digest"] != previous:
        why = "the link to the anchor before is broken"
        found.add("anchors", key, why, "previous_digest", row["previous_digest"], previous)
    value = statement.value_of(row)
    if row["value"] != value:
        why = f"one of these was edited: {', '.join(statement.STATED)}"
        found.add("anchors", key, why, "value", row["value"], value)
    if row["outcome"] != "pending" and row["digest"] != (digest := statement.result_digest(row)):
        why = f"one of these was edited: {', '.join(statement.RESULT)}"
        found.add("anchors", key, why, "digest", row["digest"], digest)


def _check_against_history(row: Mapping[str, Any], found: Findings) -> None:
    """The observation is the one that was anchored, and has only grown since."""
    key = {"number": row["number"]}
    if row["opening_digest_now"] is None:
        found.add("anchors", key, f"observation {row['seq']}, of which it is, is missing")
    elif row["head"] != row["opening_digest_now"]:
        why = f"observation {row['seq']} was another one when it was anchored"
        found.add(
            "observations", {"seq": row["seq"]}, why, "opening_digest", row["opening_digest_now"], row["head"]
        )
    else:
        has_grown = row["polls_now"] > row["polls"]
        for name in chain.CLOSING:
            then, now = row[name], row[f"{name}_now"]
            if now == then or (has_grown and (now > then or name == "last_asked_at")):
                continue
            why = f"anchor {row['number']} holds what it had come to then: it was edited"
            found.add("observations", {"seq": row["seq"]}, why, name, now, then)


def _proof(row: Mapping[str, Any], outside: Outside, found: Findings) -> Proof | None:
    """What shows that an anchor was not made later; None: it was not taken."""
    lines = outside.lines.get((row["source"], row["number"]), ())
    key = {"number": row["number"]}
    is_outside = False
    for line in lines:
        is_outside |= _is_of(line, row, found)
    if row["outcome"] == "anchored" and row["target"] in outside.read and not lines:
        found.add("anchors", key, f"the file of {row['target']!r} does not hold it")
    if row["outcome"] != "anchored":
        return "outside" if is_outside else None
    shown = _token(row, outside, found)
    is_signed_too = _is_signed(row, outside, found)
    if shown not in PROVING and is_outside:
        return "outside"
    return "signature" if shown not in PROVING and is_signed_too else shown


def _is_of(line: Line, row: Mapping[str, Any], found: Findings) -> bool:
    key = {"number": row["number"]}
    if not line.is_whole:
        found.add("anchors", key, f"{line.where} was edited, or a part of it is lost")
        return False
    if line.row["value"] != row["value"]:
        why = f"{line.where} holds another one"
        found.add("anchors", key, why, "value", row["value"], line.row["value"])
        return False
    return True


def _token(row: Mapping[str, Any], outside: Outside, found: Findings) -> Proof:
    if row["kind"] != "tsa":
        return "on record"
    key = {"number": row["number"]}
    if row["token"] is None:
        found.add("anchors", key, "its token is missing", "token")
        return "on record"
    if not timestamps.are_available():
        return "on record"  # whoever names certificates was told already what is missing
    try:
        said = timestamps.read(row["token"])
        if said.imprint != row["value"]:
            raise timestamps.TokenError("it is of something else")
        if said.attested_at != row["attested_at"]:
            raise timestamps.TokenError(f"it says {said.attested_at.isoformat()}")
        trusted = outside.certificates_for(row["target"])
        if not trusted:
            return "unchecked token"
        timestamps.check(row["token"], row["value"], trusted)
    except timestamps.TokenError as error:
        found.add("anchors", key, f"its token does not hold: {error}", "token")
        return "on record"
    return "token"


def _is_signed(row: Mapping[str, Any], outside: Outside, found: Findings) -> bool:
    key = outside.public_key
    if key is None or row["signature"] is None or row["signed_by"] != name_of(key):
        return False
    if not is_signed(key, statement.statement(row), row["signature"]):
        found.add("anchors", {"number": row["number"]}, "its signature does not hold", "signature")
        return False
    return True


def _with(place: Anchored, row: Mapping[str, Any], proof: Proof | None) -> Anchored:
    """What a place has, with one anchor more."""
    if proof is None:
        return replace(place, failed=place.failed + (row["outcome"] == "failed"), failing=row["error"])
    taken = replace(
        place,
        anchored=place.anchored + 1,
        number=row["number"],
        seq=row["seq"],
        until=row["last_at"],
        made_at=row["made_at"],
        attested_at=row["attested_at"],
        failing=None,
    )
    if proof in PROVING:
        return replace(taken, proof=proof, proven_seq=row["seq"], proven_until=row["last_at"])
    return taken if taken.proof in PROVING else replace(taken, proof=proof)
