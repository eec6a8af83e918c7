"""Commands that show what happened, and the evidence for it. They only read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from collector.cli.common import LIMIT, Word, open_for_questions, source_option
from collector.cli.printing import note, say, say_sentence, terminal_width
from collector.cli.rows import as_json, format_option, object_option, print_rows, show
from collector.cli.times import Time, check_order, echo_times, note_beginnings
from collector.reports.words import counted, show_span, show_time

NEWEST = 50
"""Transitions that a terminal shows without --limit."""
_BESIDE = " " * len("before    ")


@click.command()
@click.option("--region", type=Word(), metavar="REGION", help="Only this one: id, slug or display name.")
@click.option(
    "--entity", type=click.Choice(["region", "keystone"]), help="Only transitions of this kind of entity."
)
@click.option("--from-state", type=Word(), metavar="STATE", help="Only transitions out of this state.")
@click.option("--to-state", type=Word(), metavar="STATE", help="Only transitions into this state.")
@click.option("--from", "since", type=Time(), metavar="TIME", help="Observed at this time or later.")
@click.option("--to", "until", type=Time(), metavar="TIME", help="Observed before this time.")
@click.option(
    "--limit", type=LIMIT, help="Maximum number; the newest are shown. Default: 50 in a terminal, else all."
)
@source_option
@format_option
@click.pass_context
def transitions(
    context: click.Context,
    region: str | None,
    entity: str | None,
    from_state: str | None,
    to_state: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    source: str | None,
    format_: str,
) -> None:
    """Show changes of state and presence, newest first. Each happened between two known times.

    \b
    Example:
      collector transitions --to-state ACTIVE --from 2026-05-01
    """
    from collector.reports.recorded import never_recorded
    from collector.reports.transitions import TRANSITIONS, TransitionFilter
    from collector.reports.transitions import transitions as find

    check_order(since, until)
    is_brief = limit is None and format_ == "table" and terminal_width() is not None
    wanted = TransitionFilter(
        source=source,
        region=region,
        entity=entity,
        from_state=from_state,
        to_state=to_state,
        since=since,
        until=until,
        limit=NEWEST + 1 if is_brief else limit,
    )
    with open_for_questions(context, source) as connection:
        rows = find(connection, wanted)
        if not rows:
            for never in never_recorded(connection, states=[from_state, to_state], entity=entity):
                note(never)
        echo_times(since, until)
        note_beginnings(connection, since or until, source)
    is_cut = is_brief and len(rows) > NEWEST
    print_rows(rows[:NEWEST] if is_cut else rows, format_, TRANSITIONS, "no transitions")
    if is_cut:
        note(f"only the newest {NEWEST} (add --limit for more)")


@click.command()
@click.option("--from", "since", type=Time(), metavar="TIME", help="Only what had not ended by this time.")
@click.option("--to", "until", type=Time(), metavar="TIME", help="Only what began before this time.")
@click.option(
    "--unseen", is_flag=True, help="Also times in which a region or another entity was present but not shown."
)
@click.option("--limit", type=LIMIT, help="Maximum number; the newest are shown.")
@source_option
@format_option
@click.pass_context
def coverage(
    context: click.Context,
    since: datetime | None,
    until: datetime | None,
    unseen: bool,
    limit: int | None,
    source: str | None,
    format_: str,
) -> None:
    """Show the times that no successful poll covers, newest first.

    --unseen adds the times in which a single region, keystone or metrics database was not shown. A table has one row
    for everything that was not shown at the same time for the same reason; json and csv have a row for each. Paths
    that `db redact` removed from every answer are listed on stderr.

    \b
    Example:
      collector coverage --from "7 days ago"
      collector coverage --unseen
    """
    from collector.reports.beginnings import redactions
    from collector.reports.coverage import COVERAGE, newest_groups
    from collector.reports.coverage import coverage as find

    check_order(since, until)
    with open_for_questions(context, source) as connection:
        if unseen and format_ == "table":
            rows = newest_groups(connection, source, since=since, until=until, limit=limit)
        else:
            rows = find(connection, source, since=since, until=until, unseen_too=unseen, limit=limit)
        redacted = redactions(connection, source)
        echo_times(since, until)
        note_beginnings(connection, since or until, source)
    for each in redacted:
        note(f"{each.source}: {each.path} is redacted in every answer, since {show_time(each.made_at)}")
    shown = {name: heading for name, heading in COVERAGE.table.items() if unseen or name != "what"}
    if format_ == "table":
        rows = [
            row | {"lasting": show_span(row["seconds"]), "until_at": row["until_at"] or "now"} for row in rows
        ]
    print_rows(rows, format_, COVERAGE, "no gaps" + (", and all was shown" if unseen else ""), shown=shown)


@click.command()
@click.argument("transition")
@source_option
@object_option("json: one object.")
@click.pass_context
def explain(context: click.Context, transition: str, source: str | None, format_: str) -> None:
    """Explain why a transition is believed, and how certain it is.

    TRANSITION is a reference from `collector transitions`, or a region, for its newest transition.

    \b
    Example:
      collector explain 12/region/76
    """
    from collector.reports.changes import explain as find
    from collector.reports.changes import readable

    with open_for_questions(context, source) as connection:
        found = find(connection, transition, source)
    if format_ == "json":
        answer = {
            "sentence": found.sentence,
            "transition": found.transition,
            "confirmed": found.confirmed,
            "between": list(found.between),
            "showed": found.showed,
            "differences": [dict(zip(("path", "old", "new"), d, strict=True)) for d in found.differences],
        }
        say(json.dumps(answer, indent=2, default=as_json))
        return
    say_sentence(found.sentence)
    say()
    if found.confirmed is None:
        say("before    no complete answer without it is known")
    else:
        o = found.confirmed
        said = f"asked {show_time(o['last_asked_at'])}, answered {show_time(o['last_at'])}"
        said += f", the last of {o['polls']} equal polls" if o["polls"] > 1 else ""
        say_sentence(f"before    observation {o['seq']}: {said}", further=_BESIDE)
    for o in found.between:
        what = f"{o['outcome']}, {counted(o['polls'], 'poll')}" + (
            f": {o['message']}" if o["message"] else ""
        )
        said = f"{show_time(o['first_at'])} to {show_time(o['last_at'])}, {what}"
        say_sentence(f"between   observation {o['seq']}: {said}", further=_BESIDE)
    o = found.showed
    said = f"asked {show_time(o['first_asked_at'])}, answered {show_time(o['first_at'])}"
    say_sentence(f"after     observation {o['seq']}: {said}", further=_BESIDE)
    say("\nThe two records differ in:" if found.differences else "\nThe two records are equal.")
    for path, old, new in found.differences:
        say(f"  {path}: {readable(old)} → {readable(new)}")


@click.command()
@click.argument("seq", type=LIMIT)
@click.option(
    "--region", type=Word(), metavar="REGION", help="Only this region's record: id, slug or display name."
)
@source_option
@object_option("json: one object with the observation and the answer.")
@click.pass_context
def evidence(context: click.Context, seq: int, region: str | None, source: str | None, format_: str) -> None:
    """Show an observation, and its answer as it was stored. SEQ is the observation's number.

    \b
    Example:
      collector evidence 12 --region luxembourg-2
    """
    from collector.audit.proof import observation
    from collector.gcore import jsontext
    from collector.reports.filters import find_region
    from collector.store.payloads import load

    with open_for_questions(context, source, even_if_stale=True) as connection:
        found = observation(connection, seq, source)
        document = load(connection, found.source_id, found.address) if found.address else None
        ids: set[int] = set()
        if region:
            ids = {
                i for s, i in find_region(connection, region, found.facts["source"]) if s == found.source_id
            }
    answer: Any = None
    if document:
        records = [r.value for r in document.records]
        answer = dict(document.envelope) | {"results": records}
        if region:
            numbers = [r.get("id") if isinstance(r, dict) else None for r in records]
            answer = [
                r
                for r, n in zip(records, numbers, strict=True)
                if isinstance(n, jsontext.Number) and n.as_int() in ids
            ]
    shown = jsontext.pretty(answer)
    if format_ == "json":
        facts = json.dumps({name: as_json(value) for name, value in found.facts.items()}, indent=2)
        say(f'{{"observation": {facts}, "answer": {shown}}}')
        return
    width = max(len(name) for name in found.facts)
    for name, value in found.facts.items():
        if value is not None:
            say(f"{name:<{width}}  {show(value)}")
    say()
    if document and answer == []:
        say("this answer does not list it")
    else:
        say(shown if document else "no answer is stored: the poll failed")
