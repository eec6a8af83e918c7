"""Answers as they are stored: each distinct one once, in canonical form, compressed, under its address."""

from __future__ import annotations

import zlib

import sqlalchemy as sa

from collector.errors import IntegrityError
from collector.gcore.document import Document, stored_document
from collector.gcore.jsontext import CANONICAL_VERSION
from collector.store.engine import insert_if_new
from collector.store.tables import payloads


def store(connection: sa.Connection, source_id: int, document: Document) -> None:
    """Store an answer, if it is not there yet."""
    there = sa.select(payloads.c.address).where(
        payloads.c.source_id == source_id, payloads.c.address == document.address
    )
    if connection.scalar(there) is not None:
        return
    canonical = document.canonical()
    body = zlib.compress(canonical, 6)
    row = {
        "source_id": source_id,
        "address": document.address,
        "canonical_version": CANONICAL_VERSION,
        "size": len(canonical),
        "compressed_size": len(body),
        "body": body,
    }
    insert_if_new(connection, payloads, [row])


def load(connection: sa.Connection, source_id: int, address: str) -> Document:
    """A stored answer. Raises IntegrityError where it does not match its address."""
    body = connection.scalar(
        sa.select(payloads.c.body).where(payloads.c.source_id == source_id, payloads.c.address == address)
    )
    try:
        document = stored_document(zlib.decompress(body or b""))
    except (ValueError, TypeError, KeyError, zlib.error):
        raise IntegrityError(f"payload {address} of source {source_id} can't be read") from None
    if document.address != address:
        raise IntegrityError(f"payload {address} of source {source_id} has the content of {document.address}")
    return document
