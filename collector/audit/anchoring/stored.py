"""Checks that the stored anchors are what was sent, and that they still match the history.

Anchors are numbered without holes and linked by digests, so an altered or removed one is found. Each is compared with
its observation: the opening digest must be the same, and the counters may only have grown. Stronger proof is outside:
the signature of a time-stamping authority, or a line in a file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from collector.audit.anchoring import timestamps
from collector.audit.anchoring.outside import Line, Outside
from collector.audit.anchoring.signing import is_signed, name_of
from collector.audit.findings import Findings
from collector.inventory import chain, statement
from collector.store.tables import anchors, observations, sources

BATCH = 500
Proof = Literal["token", "outside", "signature", "unchecked token", "on record"]
PROVING: tuple[Proof, ...] = ("token", "outside", "signature")
"""Proofs that somebody who can write the database can't make."""
_a, _o = anchors.c, observations.c


@dataclass(frozen=True, slots=True)
class Anchored:
    """What one place has of a source. Its newest good anchor also covers everything before it."""

    target: str
    kind: str
    anchored: int = 0
    """Number of anchors that it accepted."""
    failed: int = 0
    """Number of anchors that it did not accept."""
    number: int | None = None
    """Number of the newest accepted anchor."""
    seq: int | None = None
    """Observation of that anchor."""
    until: datetime | None = None
    """Newest answer that the anchor covers."""
    made_at: datetime | None = None
    attested_at: datetime | None = None
    """Time that an authority put into the anchor's token."""
    proof: Proof = "on record"
    """The best proof that an anchor was not made later, and the newest anchor with that proof."""
    proven_seq: int | None = None
    """The newest observation that is covered by a proven anchor."""
    proven_until: datetime | None = None
    """The newest answer that is covered by an anchor which nobody with only the database could have made."""
    failing: str | None = None
    """Why it did not accept the newest anchor."""


def check_anchors(
    live: sa.Connection, source_id: int, source: str, outside: Outside, found: Findings
) -> tuple[Anchored, ...]:
    """Check all anchors of a source; problems go to `found`. Returns what each place has."""
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
    # The files were read before the database, so that it has every anchor that they have. The reverse holds for what
    # they contain now.
    later: Outside | None = None
    for each in rows:
        row = dict(each) | {"source": source}
        for number in range(expected, row["number"]):
            found.add("anchors", {"number": number}, "this row is missing")
            previous = ""
        _check_row(row, previous, found)
        is_ours = True
        if row["opening_digest_now"] is not None or row["seq"] >= begins:
            is_ours = _check_against_history(row, found)
        if row["target"] in outside.read and (source, row["number"]) not in outside.lines:
            later = later or outside.read_again()
        proof = _proof(row, later or outside, found)
        if proof in PROVING and not is_ours:
            proof = "on record"
        place = places.get(row["target"], Anchored(row["target"], row["kind"]))
        places[row["target"]] = _with(place, row, proof)
        expected, previous = row["number"] + 1, row["digest"] or ""
    for (name, number), lines in sorted(outside.lines.items()):
        if name == source and number >= expected:
            why = f"this row is missing: {lines[0].where} contains it"
            found.add("anchors", {"number": number}, why)
    return tuple(places[name] for name in sorted(places))


def useless(
    live: sa.Connection,
    outside: Outside,
    files: Collection[Path],
    ca_file: Path | None,
    public_key: Path | None,
) -> list[str]:
    """What was given as proof but concerns no stored anchor and no source, in words."""
    names = set(live.scalars(sa.select(sources.c.name)))
    used = {line.file for (name, _), lines in outside.lines.items() for line in lines if name in names}
    said = [f"{path}: no line of it is an anchor of this database" for path in files if path not in used]
    if ca_file is not None and not live.scalar(sa.select(_a.number).where(_a.token.is_not(None)).limit(1)):
        said.append(f"{ca_file}: no anchor has a token that it could check")
    if public_key is not None and outside.public_key is not None:
        is_its = _a.signed_by == name_of(outside.public_key)
        if not live.scalar(sa.select(_a.number).where(is_its).limit(1)):
            said.append(f"{public_key}: no anchor is signed with this key")
    return said


def _begins(live: sa.Connection, source_id: int) -> int:
    """The first observation after which none may be missing. The chain step checks earlier ones."""
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


def _check_against_history(row: Mapping[str, Any], found: Findings) -> bool:
    """True if the observation is the one that was anchored, and has only grown since."""
    key = {"number": row["number"]}
    if row["opening_digest_now"] is None:
        found.add("anchors", key, f"observation {row['seq']}, which it anchors, is missing")
        return False
    if row["head"] != row["opening_digest_now"]:
        why = f"observation {row['seq']} was a different one when anchor {row['number']} was made"
        found.add(
            "observations", {"seq": row["seq"]}, why, "opening_digest", row["opening_digest_now"], row["head"]
        )
        return False
    has_grown, is_ours = row["polls_now"] > row["polls"], True
    for name in chain.CLOSING:
        then, now = row[name], row[f"{name}_now"]
        if now == then or (has_grown and (now > then or name == "last_asked_at")):
            continue
        why = f"anchor {row['number']} contains its earlier value: it was edited"
        found.add("observations", {"seq": row["seq"]}, why, name, now, then)
        is_ours = False
    return is_ours


def _proof(row: Mapping[str, Any], outside: Outside, found: Findings) -> Proof | None:
    """What shows that an anchor was not made later; None: it was not accepted."""
    lines = outside.lines.get((row["source"], row["number"]), ())
    key = {"number": row["number"]}
    is_outside = False
    for line in lines:
        is_outside |= _is_of(line, row, found)
    if row["outcome"] == "anchored" and row["target"] in outside.read and not lines:
        found.add("anchors", key, f"the file of {row['target']!r} does not contain it")
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
        found.add("anchors", key, f"{line.where} was edited or is incomplete")
        return False
    if line.row["value"] != row["value"]:
        why = f"{line.where} contains a different one"
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
        return "on record"  # the missing certificates were already reported to the person who named them
    try:
        said = timestamps.read(row["token"])
        if said.imprint != row["value"]:
            raise timestamps.TokenError("it is for something else")
        if said.attested_at != row["attested_at"]:
            raise timestamps.TokenError(f"it says {said.attested_at.isoformat()}")
        trusted = outside.certificates_for(row["target"])
        if not trusted:
            return "unchecked token"
        timestamps.check(row["token"], row["value"], trusted)
    except timestamps.TokenError as error:
        found.add("anchors", key, f"its token is not valid: {error}", "token")
        return "on record"
    return "token"


def _is_signed(row: Mapping[str, Any], outside: Outside, found: Findings) -> bool:
    key = outside.public_key
    if key is None or row["signature"] is None or row["signed_by"] != name_of(key):
        return False
    if not is_signed(key, statement.statement(row), row["signature"]):
        found.add("anchors", {"number": row["number"]}, "its signature is not valid", "signature")
        return False
    return True


def _with(place: Anchored, row: Mapping[str, Any], proof: Proof | None) -> Anchored:
    """What a place has, including one more anchor."""
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
