"""Commands that prove a history, or show that it can't be proven."""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.cli.common import (
    as_json,
    format_option,
    object_option,
    open_existing,
    open_for_questions,
    open_for_writing,
    print_rows,
    progress_bar,
    settings_of,
    source_option,
)
from collector.cli.printing import say
from collector.cli.times import Time, check_order
from collector.errors import UsageError
from collector.reports.words import show_time

if TYPE_CHECKING:
    from collector.audit.findings import Break, Verdict, Verification


@click.group()
def audit() -> None:
    """Proof: that a history was not edited since it was seen.

    \b
    Example:
      collector audit head >> /safe/place/heads
      collector audit verify --head "$(cut -f3 /safe/place/heads | tail -n 1)"
    """


@audit.command()
@source_option
@format_option
@click.pass_context
def head(context: click.Context, source: str | None, format_: str) -> None:
    """The newest digest of each source: keep it outside the database, and verify against it later.

    In a table, source, observation, head and time are separated by tabs.

    \b
    Example:
      collector audit head >> /safe/place/heads
    """
    from collector.clock import time_text
    from collector.reports.heads import HEADS, heads

    with open_for_questions(context, source, even_if_stale=True) as connection:
        rows = heads(connection, source)
    if format_ != "table":
        print_rows(rows, format_, HEADS)
    for row in rows if format_ == "table" else ():
        say(f"{row['source']}\t{row['seq']}\t{row['head']}\t{time_text(row['first_at'])}")
    if not rows:
        say("nothing was observed yet", err=True)


@audit.command()
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="DIGEST",
    help="A head that was kept outside the database; can be given several times.",
)
@source_option
@click.option(
    "--tell",
    is_flag=True,
    help="Where something was altered, tell the receivers of the settings that it was.",
)
@object_option("json: one object with everything that was checked.")
@click.pass_context
def verify(
    context: click.Context, heads: tuple[str, ...], source: str | None, tell: bool, format_: str
) -> None:
    """Check digests and answers, derive all history again, and compare. Writes nothing, but for --tell.

    Exits with 0 when all is good, 1 when something was altered or a head is missing, 3 when the history or the views
    are of an older version (`collector db rebuild`, `collector db upgrade` mend that). Without --head, a history
    that was made anew as a whole, or whose newest observations were cut off, can't be told from a true one.

    \b
    Example:
      collector audit verify --head 5d0f…
    """
    from collector.audit.verify import UNPROVEN, verify, verify_database
    from collector.database.transactions import reading
    from collector.reports import views
    from collector.store.sources import source_names

    wanted = _digests(heads)
    engine = open_existing(context)
    with reading(engine) as connection:
        names = source_names(connection, source)
        has_views = views.are_current(connection)
    damage = verify_database(engine, views.NAMES)
    found: list[Verification] = []
    for name in names:
        with progress_bar(name) as progress:
            found.append(verify(engine, name, heads=wanted, progress=progress))
    engine.dispose()
    lost = [h for h in wanted if not any(h in each.heads for each in found)]
    verdicts: set[Verdict] = {each.verdict for each in found}
    verdicts |= {"altered"} if damage or lost else set()
    verdicts |= set() if has_views else {"stale"}
    code = 1 if "altered" in verdicts else 3 if "stale" in verdicts else 0
    if tell and code == 1:
        _tell_receivers(context, found, damage, lost)
    if format_ == "json":
        say(
            json.dumps(
                _as_json(found, damage, lost, wanted) | {"views_current": has_views},
                indent=2,
                default=as_json,
            )
        )
        sys.exit(code)
    if not has_views:
        say("views: not those of this version; `collector db upgrade` puts them in place")
    for broken in damage:
        say(_in_words(broken))
    for each in found:
        _tell(each, wanted)
    for digest in lost:
        say(f"head {digest}: no observation has it; the history is not the one that this head was taken of")
    if not wanted:
        say("no --head was given: a history made anew as a whole, or cut short, is not told from a true one")
    say("not covered by any proof:")
    for table, columns in UNPROVEN.items():
        say(f"  {table}: {', '.join(columns)}")
    sys.exit(code)


def _tell_receivers(
    context: click.Context, found: list[Verification], damage: list[Break], lost: list[str]
) -> None:
    """Queue an event of each source that can't be verified; of each of all, where the database itself is damaged."""
    from collector.cli.webhooks import announcer_of
    from collector.service.webhooks.companion import announce_verification

    settings = settings_of(context)
    if not settings.webhooks:
        say("--tell: the settings name no receiver, so nobody is told", err=True)
        return
    general = [_in_words(each) for each in damage] + [f"no observation has the head {each}" for each in lost]
    engine = open_for_writing(context)
    for each in found:
        wrong = [_in_words(one) for one in each.breaks] if each.verdict == "altered" else []
        if wrong := wrong + general:
            rest = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            announce_verification(engine, announcer_of(settings), each.source, wrong[0] + rest)
    engine.dispose()


def _digests(given: tuple[str, ...]) -> tuple[str, ...]:
    wanted = tuple(digest.strip().lower() for digest in given)
    for digest in wanted:
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise UsageError(
                f"{digest[:80]!r} is no head: a head is 64 hex digits, as `collector audit head` prints it"
            )
    return wanted


def _tell(found: Verification, asked: tuple[str, ...]) -> None:
    checked = f"{found.observations} observations of {found.polls} polls, {found.payloads} answers"
    if found.derived_rows is not None:
        checked += f", {found.derived_rows} derived rows"
    say(f"{found.source}: {found.verdict}; checked {checked}")
    if found.verdict == "stale":
        say("  it was derived by older rules: run `collector db rebuild`, then verify again")
        say(f"  {found.different} derived rows would change; the evidence is good")
    for broken in found.breaks if found.verdict == "altered" else ():
        say(f"  {_in_words(broken)}")
    more = found.different - len({(b.table, str(b.key)) for b in found.breaks})
    if more > 0 and found.verdict == "altered":
        say(f"  and {more} more derived rows")
    if found.derived_rows is None:
        say("  the evidence is broken, so what follows from it was not compared")
    for digest, seq in found.heads.items():
        is_whole = found.derived_rows is not None
        say(f"  head {digest}: observation {seq}" + ", and nothing before it was edited" * is_whole)
    if asked and not found.heads and found.verdict != "altered":
        say("  BUT none of the heads that were given is of this source: it may have been made anew")
    say(f"  head now: {found.head or 'none yet'}")


def _in_words(broken: Break) -> str:
    key = ", ".join(f"{name} {value}" for name, value in broken.key.items() if name != "source_id")
    where = f"{broken.table} ({key})" if key else broken.table
    if broken.field is None:
        return f"{where}: {broken.why}"
    values = f"stored {_short(broken.stored)}, expected {_short(broken.expected)}"
    return f"{where}, {broken.field}: {values}; {broken.why}"


def _short(value: Any) -> str:
    text = "NULL" if value is None else str(as_json(value))
    return text if len(text) <= 100 else text[:99] + "…"


def _as_json(
    found: list[Verification], damage: list[Break], lost: list[str], wanted: tuple[str, ...]
) -> dict[str, Any]:
    from dataclasses import asdict

    from collector.audit.verify import UNPROVEN

    return {
        "sources": [asdict(each) for each in found],
        "database": [asdict(each) for each in damage],
        "heads_asked": list(wanted),
        "heads_missing": lost,
        "unproven": {table: list(columns) for table, columns in UNPROVEN.items()},
    }


@audit.command()
@click.option(
    "--from", "since", type=Time(), required=True, metavar="TIME", help="Begin of the time in question."
)
@click.option(
    "--to", "until", type=Time(), metavar="TIME", help="End of it, not included; now at the latest."
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="Only this one: id, slug or display name; can be given several times.",
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE.zip",
    help="Where to write; an existing file is not overwritten.",
)
@source_option
@click.pass_context
def pack(
    context: click.Context,
    since: datetime,
    until: datetime | None,
    regions: tuple[str, ...],
    path: Path,
    source: str | None,
) -> None:
    """Everything that a claim about a time rests on, in one file that an auditor can check alone.

    It holds transitions, gaps, the observations and answers behind them, a page that explains how to check it, and
    a checker that needs nothing but Python. With --region, of other regions it holds hashes only.

    \b
    Example:
      collector audit pack --from 2026-05-01 --to 2026-06-01 -o may.zip
      python3 check.py may.zip --head 5d0f…
    """
    import hashlib

    from collector.audit.pack import build
    from collector.clock import utc_now
    from collector.reports.filters import find_region
    from collector.store.sources import source_names

    now = utc_now()
    end = min(until or now, now)
    check_order(since, end)
    if path.exists():
        raise UsageError(f"{path} exists already; choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist")
    with open_for_questions(context, source, even_if_stale=True) as connection:
        known = source_names(connection, source)
        if len(known) != 1:
            raise UsageError(
                f"a pack is about one source; add --source with one of: {', '.join(known) or 'none yet'}"
            )
        (name,) = known
        ids = {region_id for text in regions for _, region_id in find_region(connection, text, name)}
        with progress_bar(name) as progress:
            packed, verified = build(
                connection, name, since, end, made_at=now, regions=ids if regions else None, progress=progress
            )
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(packed)
        part.rename(path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink()
    say(f"from {show_time(since)} to {show_time(end)}", err=True)
    say(f"{path}: {len(packed):,} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")
    say(f"head of {name}: {verified.head}")
