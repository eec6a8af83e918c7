"""Commands that answer questions. They only read."""

from __future__ import annotations

import json
from datetime import datetime

import click

from collector.cli.common import (
    Time,
    as_json,
    format_option,
    open_for_questions,
    print_rows,
    show,
    source_option,
)
from collector.clock import utc_now
from collector.errors import UsageError
from collector.reports.words import show_time

REGION_COLUMNS = {
    "source": "source",
    "region_id": "id",
    "display_name": "region",
    "state": "state",
    "country": "country",
    "zone": "zone",
    "has_ai_gpu": "GPU",
    "keystone_state": "keystone",
    "changed_at": "changed",
    "last_seen_at": "last seen",
}


@click.command()
@click.option("--as-of", type=Time(), metavar="TIME", help="The inventory in force at this time; else now.")
@click.option("--region", metavar="REGION", help="Only this one: id, slug or display name.")
@click.option("--state", metavar="STATE", help="Only regions in this state.")
@click.option("--country", metavar="CC", help="Only regions of this country.")
@click.option("--zone", metavar="ZONE", help="Only regions of this zone.")
@source_option
@format_option
@click.pass_context
def regions(
    context: click.Context,
    as_of: datetime | None,
    region: str | None,
    state: str | None,
    country: str | None,
    zone: str | None,
    source: str | None,
    format_: str,
) -> None:
    """The regions that exist, or existed at a time, and when each was last confirmed.

    \b
    Example:
      collector regions --as-of 2026-05-01 --state ACTIVE
    """
    from collector.reports.inventory import RegionFilter, regions_as_of

    wanted = RegionFilter(source=source, region=region, state=state, country=country, zone=zone)
    with open_for_questions(context) as connection:
        rows = regions_as_of(connection, as_of or utc_now(), wanted)
    if as_of:
        click.echo(f"as of {show_time(as_of)}", err=True)
    print_rows(rows, format_, REGION_COLUMNS, "no regions")


@click.command()
@click.option("--region", metavar="REGION", help="Only this one: id, slug or display name.")
@click.option(
    "--entity", type=click.Choice(["region", "keystone"]), help="Only transitions of this kind of entity."
)
@click.option("--from-state", metavar="STATE", help="Only transitions out of this state.")
@click.option("--to-state", metavar="STATE", help="Only transitions into this state.")
@click.option("--from", "since", type=Time(), metavar="TIME", help="Observed at this time or later.")
@click.option("--to", "until", type=Time(), metavar="TIME", help="Observed before this time.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the newest.")
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
    """Changes of state and presence, newest first. Each happened between two known times.

    \b
    Example:
      collector transitions --to-state ACTIVE --from 2026-05-01
    """
    from collector.reports.inventory import TransitionFilter
    from collector.reports.inventory import transitions as find

    if since and until and since >= until:
        raise UsageError(f"--from {show_time(since)} is not before --to {show_time(until)}")
    wanted = TransitionFilter(
        source=source,
        region=region,
        entity=entity,
        from_state=from_state,
        to_state=to_state,
        since=since,
        until=until,
        limit=limit,
    )
    with open_for_questions(context) as connection:
        rows = find(connection, wanted)
    for name, moment in (("from", since), ("to", until)):
        if moment:
            click.echo(f"{name} {show_time(moment)}", err=True)
    columns = {
        "source": "source",
        "entity": "entity",
        "entity_id": "id",
        "display_name": "region",
        "from_state": "from",
        "to_state": "to",
        "not_before": "not before",
        "observed_at": "observed",
        "basis": "basis",
        "seq": "observation",
    }
    print_rows(rows, format_, columns, "no transitions")


@click.command()
@click.argument("seq", type=click.IntRange(min=1))
@click.option("--region", metavar="REGION", help="Only this region's record: id, slug or display name.")
@source_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: one object with the observation and the answer.",
)
@click.pass_context
def evidence(context: click.Context, seq: int, region: str | None, source: str | None, format_: str) -> None:
    """What was seen: an observation, and the answer behind it as it was stored.

    \b
    Example:
      collector evidence 12 --region luxembourg-2
    """
    from collector.gcore import jsontext
    from collector.reports.inventory import find_region, observation
    from collector.store.evidence import load

    with open_for_questions(context) as connection:
        found = observation(connection, seq, source)
        document = load(connection, found.source_id, found.address) if found.address else None
        ids: set[int] = set()
        if region:
            ids = {
                i for s, i in find_region(connection, region, found.facts["source"]) if s == found.source_id
            }
    text = document.canonical().decode() if document else "null"
    answer = json.loads(text)
    if region and document:
        raws = [r.value.get("id") for r in document.records if isinstance(r.value, dict)]
        positions = [
            i for i, raw in enumerate(raws) if isinstance(raw, jsontext.Number) and raw.as_int() in ids
        ]
        answer = [answer["results"][i] for i in positions]
    if format_ == "json":
        facts = {name: as_json(value) for name, value in found.facts.items()}
        click.echo(json.dumps({"observation": facts, "answer": answer}, indent=2))
        return
    width = max(len(name) for name in found.facts)
    for name, value in found.facts.items():
        if value is not None:
            click.echo(f"{name:<{width}}  {show(value)}")
    click.echo()
    click.echo(json.dumps(answer, indent=2) if document else "no answer is stored: the poll failed")
