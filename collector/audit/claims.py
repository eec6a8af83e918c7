"""The claim about one region at one time: a sentence, what could not be known, and the evidence for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.audit.runs import Row, Run, observed, runs
from collector.reports.beginnings import refuse_before
from collector.reports.words import brief, counted, show_span, show_time
from collector.store.amendments import beginning
from collector.store.tables import anchors, payloads

_p = payloads.c

OBSERVER_CHANGE = "observer_change"
PRUNED = "earlier answers were pruned"
MAX_TOLD = 20
"""Maximum number of blind times that are listed individually."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What can be claimed about a region at a time."""

    source: str
    region_id: int
    at: datetime
    is_known: bool
    state: str | None
    """None: not known, or not listed."""
    sentence: str
    unknown: tuple[str, ...]
    """What could not be known, in sentences."""
    run: Run | None
    """The run that includes the time, or otherwise the last one before it."""
    evidence: tuple[dict[str, Any], ...]
    """Observations: the first and the last of the run, and those around the time."""
    anchors: tuple[dict[str, Any], ...]
    """The first anchor at each place that covers the last of these observations."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def claim(connection: sa.Connection, source_id: int, source: str, region_id: int, at: datetime) -> Claim:
    """The state of a region at a time. Raises UsageError if that time was pruned."""
    refuse_before(connection, at, source)
    rows = observed(connection, source_id)
    found = list(runs(connection, source_id, region_id, rows))
    run = next((each for each in found if each.knows(at)), None)
    before = [each for each in found if each.from_at <= at]
    nearest = run or (before[-1] if before else None)
    after = next((each for each in found if each.from_at > at), None)
    wanted = _around(rows, at)
    if run is not None:
        (redacted,) = redacted_in(connection, source_id, rows, [run])
        is_cut = beginning(connection, source_id) is not None and run.first_seq == rows[0]["seq"]
        earlier = PRUNED if is_cut else None
        sentence, unknown = in_words(run), limits(run, earlier=earlier, redacted=redacted)
        rests_on = max(wanted, default=run.last_seq)
    else:
        sentence, unknown = _not_known(nearest, after, at, region_id), ()
        rests_on = after.first_seq if after else nearest.last_seq if nearest else 0
    wanted |= {nearest.first_seq, nearest.last_seq} if nearest else set()
    wanted |= {after.first_seq} if after else set()
    return Claim(
        source=source,
        region_id=region_id,
        at=at,
        is_known=run is not None,
        state=run.state if run else None,
        sentence=sentence,
        unknown=unknown,
        run=nearest,
        evidence=tuple(dict(row) for row in rows if row["seq"] in wanted),
        anchors=_anchors(connection, source_id, rests_on),
    )


def redacted_in(
    connection: sa.Connection, source_id: int, rows: Sequence[Row], found: Sequence[Run]
) -> list[int]:
    """For each run, the number of its observations whose answers were redacted."""
    query = sa.select(_p.address).where(_p.source_id == source_id, _p.redaction.is_not(None))
    addresses = set(connection.scalars(query))
    seqs = [row["seq"] for row in rows if row["payload"] in addresses]
    return [sum(run.first_seq <= seq <= run.last_seq for seq in seqs) for run in found]


def in_words(run: Run) -> str:
    """One sentence that is proven."""
    name, keys = brief(run.name), keys_in_words(run.keys)
    if run.state is not None:
        what = f"was in {brief(run.state)}"
        shown = f"shown by {counted(run.polls, 'poll')} with {keys}"
    else:
        what = "was not listed"
        shown = f"shown by {counted(run.polls, 'complete answer')} to {keys}"
    if run.from_at >= run.until_at:
        return f"{name} {what} at some moment between {show_time(run.until_at)} and {show_time(run.from_at)}, {shown}."
    times = "one time" if len(run.blind) == 1 else f"{len(run.blind)} times"
    blind = f", apart from {times} when {_unseen(run)}" if run.blind else ""
    return (
        f"{name} {what} from {show_time(run.from_at)} to at least {show_time(run.until_at)}{blind}, {shown}; "
        "never contradicted."
    )


def keys_in_words(keys: Sequence[str]) -> str:
    """`key 1a2b3c4d`, or several; saved answers have no key."""
    named = [key[:8] for key in keys if key not in ("", "import")]
    said = [f"key{'s' * (len(named) > 1)} {', '.join(named)}"] if named else []
    said += ["no key"] * ("" in keys) + ["answers that somebody saved"] * ("import" in keys)
    return " and ".join(said)


def limits(
    run: Run, *, earlier: str | None = None, goes_on: bool = False, redacted: int = 0
) -> tuple[str, ...]:
    """What a run does not prove, in sentences.

    `earlier`: why earlier answers than those of the run are not there. `goes_on`: later ones are not in the pack.
    `redacted`: the number of its observations whose answers were redacted.
    """
    said = []
    state = brief(run.state) if run.state is not None else "absence"
    if earlier is not None:
        said.append(f"{_capital(state)} may have begun earlier: {earlier}.")
    elif run.not_before is None:
        said.append(f"It is not known when {state} began: there was no earlier poll.")
    else:
        said.append(
            f"{_capital(state)} began after {show_time(run.not_before)}, and at the latest at {show_time(run.from_at)}."
        )
    if run.basis == OBSERVER_CHANGE and earlier is None:
        said.append("Another key or URL was used before, so its beginning may be a change of view only.")
    if run.next_at is not None:
        then = brief(run.next_state) if run.next_state is not None else "not listed"
        said.append(
            f"It ended after {show_time(run.until_at)}, and at the latest at {show_time(run.next_at)}: "
            f"then it was {then}."
        )
    elif goes_on:
        said.append(
            f"It may have lasted longer: the last answer of this pack was asked for at {show_time(run.until_at)}."
        )
    else:
        last = "poll that showed it asked" if run.state is not None else "complete answer was asked for"
        said.append(f"Nothing later is known: the last {last} at {show_time(run.until_at)}.")
    if run.next_basis == OBSERVER_CHANGE:
        said.append("Another key or URL was used after that, so its end may be a change of view only.")
    if run.polls > 1:
        longest = show_span(run.longest_interval_ms / 1000)
        said.append(
            f"Polls are samples, at most {longest} apart: a change that was reversed between two of them was not seen."
        )
    for each in run.blind[:MAX_TOLD]:
        said.append(f"Between {show_time(each.from_at)} and {show_time(each.until_at)} {_unseen(run)}.")
    if len(run.blind) > MAX_TOLD:
        said.append(f"At {counted(len(run.blind) - MAX_TOLD, 'more time')}, {_unseen(run)}.")
    if redacted:
        said.append(
            f"In the answers of {redacted} of its observations, values were redacted later: for their other values, "
            "you have to trust the person who did that."
        )
    said.append("It is not proven that the API was right, or that it answered others in the same way.")
    return tuple(said)


def _not_known(before: Run | None, after: Run | None, at: datetime, region_id: int) -> str:
    shown = before or after
    name = brief(shown.name) if shown else f"region {region_id}"
    then = f"It is not known in which state {name} was at {show_time(at)}"
    if before is None:
        return (
            f"{then}: it was first shown at {show_time(after.from_at)}."
            if after
            else f"{then}: it was never seen."
        )
    state = _state(before)
    blind = next((each for each in before.blind if each.from_at < at < each.until_at), None)
    if blind is not None:
        return (
            f"{then}: it was {state} at {show_time(blind.from_at)}, and again at {show_time(blind.until_at)}."
        )
    if after is not None:
        later = f"{_state(after)} at {show_time(after.from_at)}"
        return f"{then}: it was {state} at {show_time(before.until_at)}, and {later}."
    return f"{then}: it was {state} at {show_time(before.until_at)}, and no later answer shows it."


def _unseen(run: Run) -> str:
    """What is so in a blind time: an absent region could not be seen anyway."""
    return "it could not be seen" if run.state is not None else "that is not known"


def _state(run: Run) -> str:
    return brief(run.state) if run.state is not None else "not listed"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _around(rows: Sequence[Row], at: datetime) -> set[int]:
    """The observations that answered just before, during and just after a time."""
    applied = [row for row in rows if row["outcome"] != "failed"]
    before = [row["seq"] for row in applied if row["first_at"] <= at]
    after = [row["seq"] for row in applied if row["last_asked_at"] >= at]
    return {*before[-1:], *after[:1]}


def _anchors(connection: sa.Connection, source_id: int, seq: int) -> tuple[dict[str, Any], ...]:
    a, first = anchors.c, anchors.alias("first").c
    number = (
        sa.select(sa.func.min(first.number))
        .where(
            first.source_id == source_id,
            first.target == a.target,
            first.outcome == "anchored",
            first.seq >= max(seq, 1),
        )
        .scalar_subquery()
    )
    names = ("number", "target", "kind", "seq", "made_at", "attested_at", "value")
    query = sa.select(*(a[name] for name in names)).where(a.source_id == source_id, a.number == number)
    return tuple(dict(row) for row in connection.execute(query.order_by(a.number)).mappings())
