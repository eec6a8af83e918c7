"""A trial of an import: the same steps in a scratch database that starts with a copy of the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from collector.archive.importing import require_no_own_poll
from collector.database.scratch import trial_engine
from collector.database.transactions import migrating, reading
from collector.store import copying
from collector.store.tables import metadata


@contextmanager
def trial_database(live: sa.Engine | None, source: str) -> Iterator[sa.Engine]:
    """An engine on a temporary database with a copy of what the real one knows about this source.

    `live`: None if there is no database yet. Raises UsageError if the source was polled.
    """
    with trial_engine() as engine:
        with migrating(engine) as connection:
            metadata.create_all(connection)
        if live is not None:
            with reading(live) as origin, migrating(engine) as connection:
                require_no_own_poll(origin, source)
                copying.copy_source(origin, connection, source)
        yield engine
