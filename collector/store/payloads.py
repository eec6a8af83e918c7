"""Stored answers: each distinct one once, under its address, compressed.

    whole ◀─ delta ◀─ delta ◀─ …      at most MAX_LINKS deltas over a whole one

Most records of an answer are those of the previous one. So most answers are stored as a delta over an earlier one,
their *base* (`gcore.delta`). An address is made from the record hashes, so it does not depend on how an answer is
stored.

A new answer is written over the newest one. If that one is already MAX_LINKS links away from a whole one, the small
deltas at the end of the chain are skipped: the new answer is written over the answer before them. So deltas become
smaller along a chain, and its end moves forward cheaply. A whole answer is written if a delta would save less than
half of it, or if the deltas of a full chain have grown to a quarter of the whole answer under them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from collector.database.statements import insert_if_new
from collector.errors import IntegrityError
from collector.gcore.delta import Texts, applied, delta, texts_of
from collector.gcore.document import Document, restored, stored_document
from collector.gcore.jsontext import CANONICAL_VERSION
from collector.store.tables import MAX_LINKS, payloads

MAX_CANONICAL = 1 << 27
"""Bytes: more than the canonical form of the longest readable answer."""
_p = payloads.c


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored answer, which a writer remembers so that it can write the next one over it."""

    address: str
    texts: Texts = field(repr=False)


def store(
    connection: sa.Connection,
    source_id: int,
    document: Document,
    newest: str | None = None,
    remembered: Stored | None = None,
) -> Stored:
    """Store an answer, if it is not there yet.

    `newest`: address of the source's newest answer, over which this one may be written. `remembered`: what storing
    that answer returned, if known; otherwise it is read.
    """
    stored = Stored(document.address, texts_of(document))
    there = connection.execute(_THERE, {"of": source_id, "from": document.address}).first()
    if there is not None and there.compressed_size:
        return stored
    size = document.size()
    over = _over(connection, source_id, stored.texts, size, newest, remembered) if newest else None
    base, links, body = over or (None, 0, zlib.compress(document.canonical(), 6))
    row = {
        "source_id": source_id,
        "address": document.address,
        "canonical_version": CANONICAL_VERSION,
        "size": size,
        "compressed_size": len(body),
        "body": body,
        "base": base,
        "links": links,
    }
    if there is None:
        insert_if_new(connection, payloads, [row])
    else:  # it was pruned, and the API gave it again
        mine = (_p.source_id == source_id, _p.address == document.address)
        connection.execute(sa.update(payloads).where(*mine).values(row))
    return stored


def _over(
    connection: sa.Connection,
    source_id: int,
    texts: Texts,
    size: int,
    newest: str,
    remembered: Stored | None,
) -> tuple[str, int, bytes] | None:
    """Base, links and body of an answer as a delta, if that saves at least half."""
    chain = _chain(connection, source_id, newest)
    if not chain or chain[-1].links or not chain[-1].compressed_size:  # broken or pruned: no base
        return None
    base = chain[0] if chain[0].links < MAX_LINKS else _before_small_ones(chain)
    if base is None:
        return None
    if remembered is not None and remembered.address == base.address:
        earlier = remembered.texts
    else:
        try:
            earlier = texts_of(load(connection, source_id, base.address))
        except IntegrityError:
            return None
    body = zlib.compress(delta(earlier, texts).encode(), 6)
    whole = chain[-1].compressed_size * size // max(chain[-1].size, 1)  # an estimate
    return (base.address, base.links + 1, body) if len(body) * 2 <= whole else None


_WANTED = (_p.address, _p.base, _p.links, _p.size, _p.compressed_size)
_FIRST = (_p.source_id == sa.bindparam("of"), _p.address == sa.bindparam("from"))
_THERE = sa.select(_p.compressed_size).where(*_FIRST)
_UPPER = sa.select(*_WANTED, sa.literal(0).label("depth")).where(*_FIRST).cte("chain", recursive=True)
_LINKS = _UPPER.union_all(
    sa.select(*_WANTED, _UPPER.c.depth + 1).where(
        _p.source_id == sa.bindparam("of"), _p.address == _UPPER.c.base, _UPPER.c.depth < MAX_LINKS
    )
)
_CHAIN = sa.select(_LINKS).order_by(_LINKS.c.depth)
"""Built once, because every changed answer needs it."""


def _chain(connection: sa.Connection, source_id: int, address: str) -> Sequence[sa.Row[Any]]:
    """An answer, its base, and so on down to a whole one; without their bodies."""
    return connection.execute(_CHAIN, {"of": source_id, "from": address}).all()


def _before_small_ones(chain: Sequence[sa.Row[Any]]) -> sa.Row[Any] | None:
    """The newest answer of a full chain whose row is longer than all rows over it.

    None if that is the whole answer: enough has been written over it, and damage to its row would lose all of that.
    """
    over = chain[0].compressed_size
    for row in chain[1:]:
        if row.compressed_size > over:
            break
        over += row.compressed_size
    return None if row is chain[-1] and over * 4 > row.compressed_size else row


class DamagedAnswerError(IntegrityError):
    """An answer that can't be read, or whose base can't."""

    def __init__(self, source_id: int, address: str, column: str, why: str, asked: str) -> None:
        above = "" if asked == address else f"; payload {asked} is written over it"
        super().__init__(f"payload {address} of source {source_id} {why}{above}")
        self.address = address
        """Address of the damaged answer itself."""
        self.column = column
        self.why = why


@dataclass(frozen=True, slots=True)
class Read:
    """An answer as it was read."""

    row: sa.Row[Any] = field(repr=False)
    document: Document = field(repr=False)
    base: Texts | None = field(repr=False)
    """The answer that it is written over; None: it is a whole one."""
    text: str = field(repr=False)
    """The decompressed text of its row."""
    is_all: bool
    """False: something follows the compressed text."""


class Reader:
    """Reads answers of one source, in one transaction.

    It remembers the last ones and the whole one under them, so reading answers in the order in which they were
    written reads each row once.
    """

    def __init__(self, connection: sa.Connection, source_id: int) -> None:
        self._connection, self._source_id = connection, source_id
        self._kept: dict[str, tuple[int, Document]] = {}
        """Links to a whole answer, and the answer, by address. Oldest first."""

    def load(self, address: str) -> Document:
        """A stored answer. Raises DamagedAnswerError if it does not match its address."""
        return self._kept[address][1] if address in self._kept else self.read(address).document

    def read(self, address: str) -> Read:
        """A stored answer with everything in its row. Raises DamagedAnswerError."""
        self._kept.pop(
            address, None
        )  # an answer may have been read before the one that it is written over, if the API gave it again later
        rows = self._rows(address)
        under, near = self._kept.get(rows[0].base, (-1, None))
        texts = texts_of(near) if near else None
        done: list[Texts] = []
        for links, row in enumerate(rows, under + 1):
            base = texts
            if not row.body:
                raise self._damaged(row.address, "was pruned", address)
            if row.links != links or links > MAX_LINKS:
                self._check_content(rows, done, address)
                why = f"has {row.links} links, but is written over {links} others (at most {MAX_LINKS})"
                raise self._damaged(row.address, why, address, "links")
            try:
                text, is_all = _unpacked(row.body)
                if base is None or near is None:
                    near = document = stored_document(text.encode())
                    texts = texts_of(document)
                else:
                    texts = applied(base, text)
                    if row is rows[-1]:
                        document = _restored(texts, near)
            except _UNREADABLE:
                self._check_content(rows, done, address)
                raise self._damaged(row.address, "can't be read", address) from None
            done.append(texts)
        if document.address != (rows[-1].content or address):
            self._check_content(rows, done[:-1], address)
            raise self._damaged(address, f"has the content of {document.address}", address)
        if under < 0 and near is not None:
            self._keep(rows[0].address, 0, near)
        self._keep(address, rows[-1].links, document)
        return Read(rows[-1], document, base, text, is_all)

    def _rows(self, address: str) -> list[sa.Row[Any]]:
        """The rows of an answer and of those under it, down to a whole or remembered one; its own row last."""
        rows: list[sa.Row[Any]] = []
        wanted: str | None = address
        while wanted is not None and wanted not in self._kept:
            query = sa.select(payloads).where(_p.source_id == self._source_id, _p.address == wanted)
            row = self._connection.execute(query).first()
            if row is None:
                raise self._damaged(wanted, "is missing", address)
            rows.insert(0, row)
            if len(rows) > MAX_LINKS + 1:
                wrong = next((r for b, r in pairwise(rows) if r.links != b.links + 1), rows[-1])
                why = f"is written over itself, or over more than {MAX_LINKS} others"
                raise self._damaged(wrong.address, why, address, "base")
            wanted = row.base
        return rows

    def _check_content(self, rows: Sequence[sa.Row[Any]], steps: Sequence[Texts], asked: str) -> None:
        """Find the first answer, starting from the whole one, whose content does not match its address."""
        for row, texts in zip(rows, steps, strict=False):
            if (found := texts.address()) != (row.content or row.address):
                raise self._damaged(row.address, f"has the content of {found}", asked)

    def _damaged(self, address: str, why: str, asked: str, column: str = "body") -> DamagedAnswerError:
        return DamagedAnswerError(self._source_id, address, column, why, asked)

    def _keep(self, address: str, links: int, document: Document) -> None:
        """Keep the last whole answer and the last two others."""
        self._kept.pop(address, None)
        self._kept[address] = links, document
        deltas = [each for each, (n, _) in self._kept.items() if n]
        wholes = [each for each, (n, _) in self._kept.items() if not n]
        for each in (*deltas[:-2], *wholes[:-1]):
            del self._kept[each]


def load(connection: sa.Connection, source_id: int, address: str) -> Document:
    """A stored answer. Raises DamagedAnswerError if it does not match its address."""
    return Reader(connection, source_id).load(address)


def _restored(texts: Texts, near: Document) -> Document:
    """`near`: a document that has most of the records."""
    if sum(map(len, texts.records)) > MAX_CANONICAL:
        raise ValueError("too long")
    return restored(texts.envelope, texts.records, {record.text: record for record in near.records})


def _unpacked(body: bytes) -> tuple[str, bool]:
    """The decompressed text, and True if nothing follows it."""
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(body, MAX_CANONICAL)
    return text.decode("ascii"), unpacker.eof and not unpacker.unused_data


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error)
"""What reading a damaged body may raise."""
