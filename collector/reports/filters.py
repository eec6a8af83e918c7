"""Filters that questions share: rows, and the names of regions and words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from collector.errors import UsageError
from collector.nearest import instead
from collector.reports.words import in_order
from collector.store.tables import (
    region_versions,
    regions,
    sources,
)

Row = dict[str, Any]
_ALIKE = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-") | dict.fromkeys(
    map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"), None
)
"""Dashes that look alike, and invisible characters."""


def find_region(connection: sa.Connection, text: str, source: str | None = None) -> Sequence[tuple[int, int]]:
    """Resolve an id, slug or display name to pairs (source_id, region id). Raises UsageError with the closest
    names."""
    query = sa.select(regions.c.source_id, regions.c.id, regions.c.slug, regions.c.display_name)
    if source:
        query = query.join(sources, sources.c.id == regions.c.source_id).where(sources.c.name == source)
    rows = connection.execute(query).all()
    wanted = folded(text)
    found = [(r.source_id, r.id) for r in rows if str(r.id) == wanted]
    found = found or [
        (r.source_id, r.id)
        for r in rows
        if wanted and wanted in (folded(r.slug or ""), folded(r.display_name or ""))
    ]
    if not found and wanted:
        v = region_versions.c
        ours = {(r.source_id, r.id) for r in rows}
        since = connection.execute(sa.select(v.source_id, v.region_id, v.slug, v.display_name).distinct())
        former = {(s, i) for s, i, *called in since if wanted in [folded(name or "") for name in called]}
        found = sorted(former & ours)
    if found:
        return found
    names = {name: (r.source_id, r.id) for r in rows for name in (r.display_name, r.slug) if name}
    names = dict(sorted(names.items(), key=lambda each: in_order(each[0])))
    raise UsageError(f"there is no region {text!r}; {instead(text, names)}")


def folded(name: str) -> str:
    """A name in the form in which names are compared: without case, however letters are composed and blanks and dashes
    are typed.

    Databases do not agree on this, so they are not asked.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(plain.replace("i\u0307", "i").translate(_ALIKE).split())  # İ folds to two characters


def places(connection: sa.Connection, source: str | None = None) -> dict[tuple[str, int], Row]:
    """The names and places of regions now, or the last ones, by source and id."""
    r = regions.c
    query = sa.select(sources.c.name, r.id, r.slug, r.display_name, r.zone, r.country).join(
        sources, sources.c.id == r.source_id
    )
    query = query.where(sources.c.name == source) if source else query
    return {(row["name"], row["id"]): dict(row) for row in connection.execute(query).mappings()}


def is_region(found: Sequence[tuple[int, int]], source_id: Any, region_id: Any) -> Any:
    return sa.or_(*((source_id == s) & (region_id == r) for s, r in found))


def is_word(column: Any, word: str) -> Any:
    """True for rows whose column has this word, in upper or lower case. Other letters than ASCII must be in one case
    throughout, or as given, because databases treat them differently."""
    cases = {word, word.upper(), word.lower(), word.capitalize()}
    spellings = {unicodedata.normalize(form, each) for form in ("NFC", "NFD") for each in cases} | cases
    known = column.in_(sorted(spellings))
    return known | (sa.func.upper(column) == word.upper()) if word.isascii() else known
