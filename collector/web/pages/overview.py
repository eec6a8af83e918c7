"""What exists, what changed, and what could not be seen."""

from __future__ import annotations

import sqlalchemy as sa

from collector.reports.inventory import RegionFilter, regions_as_of
from collector.web.pages.rendering import Asked, Shown


def overview(connection: sa.Connection, asked: Asked) -> Shown:
    """One row a region."""
    return Shown("overview.html", {"regions": regions_as_of(connection, asked.now, RegionFilter())})
