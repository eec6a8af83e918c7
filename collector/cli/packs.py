"""`collector audit pack`: a file that an auditor can check alone."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from collector.cli.common import open_for_questions, progress_bar, source_option
from collector.cli.printing import say
from collector.cli.times import Time, check_order
from collector.errors import UsageError
from collector.nearest import listed
from collector.reports.words import show_time


@click.command()
@click.option("--from", "since", type=Time(), required=True, metavar="TIME", help="Beginning of the time.")
@click.option(
    "--to",
    "until",
    type=Time(),
    metavar="TIME",
    help="End of the time, not included; not in the future; default: now.",
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
    """Pack the evidence for a time into one file that an auditor can check alone.

    It contains claims, transitions, gaps, their observations and answers, a page that explains how to check it, and a
    checker that needs only Python. With --region, it contains only hashes of other regions' records.

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
            raise UsageError(f"a pack is about one source; add --source with one of: {listed(known)}")
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
