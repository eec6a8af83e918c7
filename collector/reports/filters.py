"""What questions have in common: rows, and how regions and words are named."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from collector.errors import UsageError
from collector.store.tables import (
    region_versions,
    regions,
    sources,
)

Row = dict[str, Any]


def find_region(connection: sa.Connection, text: str, source: str | None = None) -> Sequence[tuple[int, int]]:
    """Resolve an id, slug or display name to (source_id, region id) pairs. Raises UsageError, naming the
    closest names."""
    query = sa.select(regions.c.source_id, regions.c.id, regions.c.slug, regions.c.display_name)
    if source:
        query = query.join(sources, sources.c.id == regions.c.source_id).where(sources.c.name == source)
    rows = connection.execute(query).all()
    wanted = text.strip().casefold()
    found = [(r.source_id, r.id) for r in rows if str(r.id) == wanted]
    found = found or [
        (r.source_id, r.id)
        for r in rows
        if wanted in ((r.slug or "").casefold(), (r.display_name or "").casefold())
    ]
    if not found:
        v = region_versions.c
        former = (
            sa.select(v.source_id, v.region_id)
            .distinct()
            .where(sa.func.lower(v.slug).in_([wanted]) | sa.func.lower(v.display_name).in_([wanted]))
        )
        ours = {(r.source_id, r.id) for r in rows}
        found = [(s, i) for s, i in connection.execute(former) if (s, i) in ours]
    if found:
        return found
    names = {name.casefold(): name for r in rows for name in (r.display_name, r.slug) if name}
    close = [names[c] for c in difflib.get_close_matches(wanted, list(names), n=3, cutoff=0.4)]
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"there is no region {text!r}{hint}")


def places(connection: sa.Connection, source: str | None = None) -> dict[tuple[str, int], Row]:
    """What regions are called and where they are now, or were last, by source and id."""
    r = regions.c
    query = sa.select(sources.c.name, r.id, r.slug, r.display_name, r.zone, r.country).join(
        sources, sources.c.id == r.source_id
    )
    query = query.where(sources.c.name == source) if source else query
    return {(row["name"], row["id"]): dict(row) for row in connection.execute(query).mappings()}


def is_region(found: Sequence[tuple[int, int]], source_id: Any, region_id: Any) -> Any:
    return sa.or_(*((source_id == s) & (region_id == r) for s, r in found))


def is_word(column: Any, word: str) -> Any:
    """Whether a column holds this word, in upper or lower case (databases know that of ASCII alone)."""
    return (column == word) | (sa.func.upper(column) == word.upper())
