"""Commands that prove a history, or show that it can't be proven."""

from __future__ import annotations

import click

from collector.cli.anchoring import anchor, anchors, usable_anchors
from collector.cli.claims import state
from collector.cli.common import open_for_questions, settings_of, source_option
from collector.cli.packs import pack
from collector.cli.printing import say
from collector.cli.rows import format_option, print_rows
from collector.cli.verifying import verify


@click.group()
def audit() -> None:
    """Prove that a history was not edited after it was recorded.

    \b
    Example:
      collector audit head >> /safe/place/heads
      collector audit verify --head "$(cut -f3 /safe/place/heads | tail -n 1)"
    """


audit.add_command(anchor)
audit.add_command(anchors)
audit.add_command(pack)
audit.add_command(state)
audit.add_command(verify)


@audit.command()
@source_option
@format_option
@click.pass_context
def head(context: click.Context, source: str | None, format_: str) -> None:
    """Print the newest digest of each source. Keep it outside the database, and verify against it later.

    In a table, source, observation, head and time are separated by tabs. With COLLECTOR_SIGNING_KEY_FILE there are
    two more columns, the public key's SHA-256 and a signature; docs/audit.md says what is signed.

    \b
    Example:
      collector audit head >> /safe/place/heads
    """
    from collector.clock import time_text
    from collector.inventory.statement import head_statement
    from collector.reports.heads import SIGNED_HEADS, heads

    _, signer = usable_anchors(settings_of(context))
    with open_for_questions(context, source, even_if_stale=True, even_if_empty=True) as connection:
        rows = heads(connection, source)
    for row in rows:
        stated = head_statement(row["source"], row["seq"], row["head"])
        row["signed_by"] = signer.signed_by if signer else None
        row["signature"] = signer.sign(stated) if signer else None
    if format_ != "table":
        print_rows(rows, format_, SIGNED_HEADS)
    for row in rows if format_ == "table" else ():
        told = [row["source"], str(row["seq"]), row["head"], time_text(row["first_at"])]
        say("\t".join([*told, *([row["signed_by"], row["signature"]] if signer else ())]))
    if not rows:
        say("nothing was observed yet", err=True)
