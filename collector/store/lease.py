"""One writer per source: a lease in the source's row, and the fence that every write has to pass.

The fence is the first statement of a write transaction: a conditional UPDATE of the source's row. It fails if the
writer's lease has expired or another process has taken it (the epoch shows that). Its row lock keeps all other
writers of this source out until the transaction ends. SQLite can't evict a writer that was stopped in the middle of a
transaction; PostgreSQL's time-outs do.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import NamedTuple, cast

import sqlalchemy as sa

from collector.database.statements import insert_if_new, one_at_a_time
from collector.database.timeouts import LEASE_SECONDS
from collector.database.transactions import reading, writing
from collector.database.types import database_time
from collector.errors import DatabaseError, LeaseHeldError, LeaseLostError
from collector.store.tables import DERIVATION_REVISION, sources

KEEP_SECONDS = LEASE_SECONDS / 4
LONGEST_SECONDS = 2 * LEASE_SECONDS
"""A lease that ends later than this was written before the database's clock was set back. Its holder may have died,
and nobody could take over until the clock reaches that end, perhaps years later.
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one source until it expires."""

    source_id: int
    source: str
    owner: str
    epoch: int
    salt: str
    derivation_revision: int
    """Revision of the source's derived tables when the lease began."""

    def fingerprint(self, key: str) -> str:
        """Distinguishes keys without revealing them: HMAC-SHA256 with the database's salt."""
        return hmac.new(bytes.fromhex(self.salt), key.encode(), hashlib.sha256).hexdigest()[:32]


def process_name() -> str:
    """Name of a lease holder: host, process id, and a random part, since process ids are reused."""
    return f"{_here()}:{os.getpid()}:{secrets.token_hex(3)}"


def _here() -> str:
    """Identifies the running kernel and container within which process ids are unique.

    Host names can be duplicated, and so can the machine ids of cloned images. Containers often have no machine id.
    """
    host = socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        place = f"{boot}{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return host
    return f"{host}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def is_dead(owner: str) -> bool:
    """True if the holder was a process on this host that has exited. False if that is not known.

    This only saves waiting until the lease expires. The fence stops the holder if it is alive after all.
    """
    here, _, rest = owner.rpartition(":")[0].rpartition(":")
    if here != _here() or here == socket.gethostname() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def acquire(
    engine: sa.Engine, source: str, owner: str, *, wait_seconds: float = 0.0, spares: bool = False
) -> Lease:
    """Take the lease of a source; create the source if it is new.

    `spares`: leave a lease that has expired to its holder, unless that is known to be dead. Raises LeaseHeldError with
    the holder's name if the lease is still held after `wait_seconds`.
    """
    give_up = monotonic() + wait_seconds
    while True:
        with writing(engine) as connection:
            lease = _try(connection, source, owner, spares=spares)
            if not isinstance(lease, Lease) and is_dead(lease[0]):
                lease = _try(connection, source, owner, instead_of=lease[0])
        if isinstance(lease, Lease):
            return lease
        if monotonic() >= give_up:
            holder, until = lease
            if spares:
                raise LeaseHeldError(
                    f"source {source!r} was polled by {holder} before the database was away; that process has some "
                    "seconds to write what it kept"
                )
            raise LeaseHeldError(
                f"source {source!r} is being polled by {holder}, so there is nothing to do. To poll it from here, stop "
                f"that process or wait until its lease ends at {until:%H:%M:%S} UTC"
            )
        sleep(0.2)


def _try(
    connection: sa.Connection,
    source: str,
    owner: str,
    instead_of: str | None = None,
    *,
    spares: bool = False,
) -> Lease | tuple[str, datetime]:
    row = connection.execute(_take(source, owner, instead_of, spares=spares)).one_or_none()
    if row is None and connection.scalar(sa.select(sources.c.id).where(sources.c.name == source)) is None:
        _introduce(connection, source)
        row = connection.execute(_take(source, owner)).one_or_none()
    if row is not None:
        return Lease(
            source_id=row.id,
            source=source,
            owner=owner,
            epoch=row.lease_epoch,
            salt=row.key_salt,
            derivation_revision=row.derivation_revision,
        )
    held = connection.execute(
        sa.select(sources.c.lease_owner, sources.c.lease_expires_at).where(sources.c.name == source)
    ).one()
    if held.lease_owner is None:  # it was released a moment ago
        return _try(connection, source, owner, spares=spares)
    return cast("tuple[str, datetime]", tuple(held))


def _take(source: str, owner: str, instead_of: str | None = None, *, spares: bool = False) -> sa.Update:
    free = sources.c.lease_owner.is_(None) if spares else is_over()
    if instead_of is not None:
        free |= sources.c.lease_owner == instead_of
    return (
        sa.update(sources)
        .where(sources.c.name == source, free | (sources.c.lease_owner == owner))
        .values(
            lease_owner=owner,
            lease_epoch=sources.c.lease_epoch + 1,
            lease_expires_at=database_time(LEASE_SECONDS),
        )
        .returning(sources.c.id, sources.c.lease_epoch, sources.c.key_salt, sources.c.derivation_revision)
    )


def is_over() -> sa.ColumnElement[bool]:
    """True if a source's lease can be taken: nobody has it, it has expired, or its end is impossibly late."""
    s = sources.c
    ends = s.lease_expires_at
    return s.lease_owner.is_(None) | (ends <= database_time()) | (ends > database_time(LONGEST_SECONDS))


def _introduce(connection: sa.Connection, source: str) -> None:
    of_the_first = sa.select(sources.c.key_salt).order_by(sources.c.id).limit(1)
    salt = connection.scalar(of_the_first)
    if salt is None:
        one_at_a_time(connection)  # otherwise several first sources get different salts
        salt = connection.scalar(of_the_first)
    row = {
        "name": source,
        "newest_seq": 0,
        "derivation_revision": DERIVATION_REVISION,
        "lease_epoch": 0,
        "key_salt": salt or secrets.token_hex(16),
    }
    insert_if_new(connection, sources, [row])


def _ours(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    """True as long as nobody else has taken the lease: taking it changes the epoch."""
    s = sources.c
    return s.id == lease.source_id, s.lease_owner == lease.owner, s.lease_epoch == lease.epoch


_FENCE = (
    sa.update(sources)
    .where(
        sources.c.id == sa.bindparam("source"),
        sources.c.lease_owner == sa.bindparam("holder"),
        sources.c.lease_epoch == sa.bindparam("epoch"),
        sources.c.lease_expires_at > database_time(),
        sources.c.derivation_revision == DERIVATION_REVISION,
    )
    .values(lease_expires_at=database_time(LEASE_SECONDS))
    .returning(sources.c.newest_seq, sources.c.amendments, sources.c.corrections)
)
"""Built once: building it takes longer than executing it on SQLite."""


class Passed(NamedTuple):
    """What the fence says of the source. A writer's memory is valid as long as none of these was changed by others."""

    seq: int
    """Number of the newest observation; 0 if there is none."""
    amendments: int
    """Number of the newest amendment; 0 if there is none."""
    corrections: int
    """Number of rebuilds that corrected derived rows."""


def fence(connection: sa.Connection, lease: Lease) -> Passed:
    """Pass the fence and renew the lease. Raises LeaseLostError."""
    ours = {"source": lease.source_id, "holder": lease.owner, "epoch": lease.epoch}
    row = connection.execute(_FENCE, ours).one_or_none()
    if row is None:
        raise LeaseLostError(
            f"the lease of source {lease.source!r} was lost, or a newer version derived its history; "
            "nothing was written"
        )
    return Passed(*row)


def resume(engine: sa.Engine, lease: Lease) -> bool:
    """Renew a lease that expired while the database was unreachable, if nobody else has taken it.

    This is safe: the epoch is unchanged, so nobody else has written.
    """
    with writing(engine) as connection:
        renewed = connection.execute(
            sa.update(sources).where(*_ours(lease)).values(lease_expires_at=database_time(LEASE_SECONDS))
        )
        return renewed.rowcount == 1


def renew(engine: sa.Engine, owner: str, leases: Sequence[Lease]) -> None:
    """Renew those of our leases that expire soon and that nobody has taken. Safe for the same reason as `resume`.

    Rows that a write transaction has locked are skipped, since that transaction renews its lease itself.
    """
    s = sources.c
    for n in range(0, len(leases), 500):
        ours = sa.tuple_(s.id, s.lease_epoch).in_(
            [(each.source_id, each.epoch) for each in leases[n : n + 500]]
        )
        near = is_over() | (s.lease_expires_at < database_time(LEASE_SECONDS // 2))
        kept = sa.select(s.id).where(ours, near, s.lease_owner == owner).with_for_update(skip_locked=True)
        with writing(engine) as connection:
            connection.execute(
                sa.update(sources).where(s.id.in_(kept)).values(lease_expires_at=database_time(LEASE_SECONDS))
            )


@contextmanager
def kept(engine: sa.Engine, lease: Lease) -> Iterator[None]:
    """Keep a lease while answers are fetched and read, or a history is derived again, however long that takes.

    The fence checks that the lease is still ours before anything is written.
    """
    done = Event()

    def keep() -> None:
        while not done.wait(KEEP_SECONDS):
            with suppress(DatabaseError):  # the write meets the same error and reports it
                renew(engine, lease.owner, [lease])

    keeper = Thread(target=keep, name=f"keep {lease.source}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def free(engine: sa.Engine) -> set[str]:
    """Sources whose lease can be taken: it was released, it has expired, or its holder is known to be dead."""
    s = sources.c
    with reading(engine) as connection:
        owners = connection.scalars(sa.select(s.lease_owner).where(s.lease_owner.is_not(None)).distinct())
        dead = [owner for owner in owners if owner is not None and is_dead(owner)]
        over = is_over() | s.lease_owner.in_(dead)
        return set(connection.scalars(sa.select(s.name).where(over)))


def release(engine: sa.Engine, *leases: Lease) -> None:
    """Release leases, as far as they are still ours, in one transaction."""
    s = sources.c
    for n in range(0, len(leases), 500):
        ours = [(each.source_id, each.owner, each.epoch) for each in leases[n : n + 500]]
        with writing(engine) as connection:
            connection.execute(
                sa.update(sources)
                .where(sa.tuple_(s.id, s.lease_owner, s.lease_epoch).in_(ours))
                .values(lease_owner=None, lease_expires_at=None)
            )
