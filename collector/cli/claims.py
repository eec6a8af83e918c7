"""`collector audit state`: a claim in words."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import click

from collector.cli.common import open_for_questions, source_option
from collector.cli.printing import say, say_sentence
from collector.cli.rows import as_json, object_option
from collector.cli.times import Time
from collector.errors import UsageError
from collector.nearest import listed
from collector.reports.words import counted, show_time


@click.command()
@click.argument("region", metavar="REGION")
@click.option("--at", type=Time(), required=True, metavar="TIME", help="The time in question.")
@source_option
@object_option("json: one object with the sentence and the evidence.")
@click.pass_context
def state(context: click.Context, region: str, at: datetime, source: str | None, format_: str) -> None:
    """Say in one sentence which state a region had at a time, with the evidence.

    Exits with 0 if the state is known, or if it is certain that the region was not listed; otherwise with 3.
    `collector audit verify` checks the evidence; `collector audit pack` makes a file of it that others can check.

    \b
    Example:
      collector audit state luxembourg-2 --at "2026-11-24 12:00"
    """
    from collector.audit.claims import claim
    from collector.reports.filters import find_region
    from collector.store.sources import names_by_id

    with open_for_questions(context, source) as connection:
        found = sorted(set(find_region(connection, region, source)))
        if len(found) > 1:
            names = names_by_id(connection)
            each = listed([f"region {region_id} of {names[source_id]}" for source_id, region_id in found])
            raise UsageError(
                f"{region!r} names {len(found)} regions: {each}; give the id of one, and --source"
            )
        ((source_id, region_id),) = found
        name = names_by_id(connection)[source_id]
        claimed = claim(connection, source_id, name, region_id, at)
    if format_ == "json":
        say(json.dumps(claimed.as_dict(), indent=2, default=as_json))
        sys.exit(0 if claimed.is_known else 3)
    say(f"at {show_time(at)}", err=True)
    say_sentence(claimed.sentence)
    if claimed.unknown:
        say("\nWhat could not be known:")
    for text in claimed.unknown:
        say_sentence(text, "  ", further="    ")
    say(f"\nEvidence from source {name}, about region {region_id}; `collector audit verify` checks it:")
    for row in claimed.evidence:
        say_sentence(
            f"observation {row['seq']}: {row['outcome']}, {counted(row['polls'], 'poll')}, "
            f"first asked {show_time(row['first_asked_at'])}, last answered {show_time(row['last_at'])}",
            "  ",
            further="    ",
        )
        say(f"    answer {row['payload']}\n    head {row['opening_digest']}")
    for row in claimed.anchors:
        stamped = f", time-stamped {show_time(row['attested_at'])}" if row["attested_at"] else ""
        say_sentence(
            f"anchor {row['number']} at {row['target']}, {show_time(row['made_at'])}{stamped}: {row['value']}",
            "  ",
            further="    ",
        )
    if not claimed.anchors:
        say_sentence("no anchor covers it: a person who can write the database could have made it up", "  ")
    sys.exit(0 if claimed.is_known else 3)
