"""An answer may be stored as a delta over an earlier one.

Stored answers stay whole.

Revision ID: 0004
Revises: 0003
"""

import json
import zlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LINKS = "links BETWEEN 0 AND 16 AND (links = 0) = (base IS NULL)"
COMMENTS = {
    "size": ("Bytes of the canonical JSON", "Bytes of the canonical JSON of the whole answer"),
    "body": (
        "The canonical JSON, compressed with zlib",
        "The canonical JSON, compressed with zlib; where there is a base, of what changed over that",
    ),
}
"""By column: the old and the new comment."""


def upgrade() -> None:
    op.add_column(
        "payloads",
        sa.Column(
            "base",
            sa.Text(),
            comment="Address of the answer over which this one is written; NULL: it is whole",
        ),
    )
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            "ALTER TABLE payloads ADD COLUMN links INTEGER DEFAULT '0' NOT NULL"
            f" CONSTRAINT ck_payloads_links CHECK ({LINKS})"
        )
        return
    op.add_column(
        "payloads",
        sa.Column(
            "links",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="Number of answers under this one, down to a whole one; 0: it is whole",
        ),
    )
    op.create_check_constraint("ck_payloads_links", "payloads", LINKS)
    _comment(1)


def downgrade() -> None:
    _make_whole()
    op.drop_column("payloads", "links")
    op.drop_column("payloads", "base")
    if op.get_context().dialect.name != "sqlite":
        _comment(0)


def _make_whole() -> None:
    connection = op.get_bind()
    wanted = sa.text("SELECT source_id, address, base FROM payloads WHERE links > 0 ORDER BY links")
    body_of = sa.text("SELECT body FROM payloads WHERE source_id = :source_id AND address = :address")
    write = sa.text(
        "UPDATE payloads SET body = :body, compressed_size = :size, base = NULL, links = 0"
        " WHERE source_id = :source_id AND address = :address"
    )
    for source_id, address, base in connection.execute(wanted).all():
        below, delta = (
            json.loads(
                zlib.decompress(
                    connection.execute(body_of, {"source_id": source_id, "address": each}).scalar_one()
                ),
                parse_int=_Literal,
                parse_float=_Literal,
            )
            for each in (base, address)
        )
        body = zlib.compress(_applied(below, delta).encode(), 6)
        row = {"source_id": source_id, "address": address, "body": body, "size": len(body)}
        connection.execute(write, row)


class _Literal(str):
    """A number with its literal text."""


def _applied(below: dict[str, Any], delta: dict[str, Any]) -> str:
    """The canonical text of an answer that is written over another: see `collector.gcore.delta`."""
    records = [_text(record) for record in below["results"]]
    for position, *runs in delta.get("edited", []):
        pieces = records[int(position)].split(",")
        for start, count, *new in reversed(runs):
            pieces[int(start) : int(start) + int(count)] = new
        records[int(position)] = ",".join(pieces)
    for position in reversed(delta.get("gone", [])):
        del records[int(position)]
    for position, record in delta.get("new", []):
        records.insert(int(position), _text(record))
    envelope = delta.get("envelope", {name: value for name, value in below.items() if name != "results"})
    members = {name: _text(value) for name, value in envelope.items()}
    members["results"] = f"[{','.join(records)}]"
    return "{" + ",".join(f"{_text(name)}:{members[name]}" for name in sorted(members)) + "}"


def _text(value: Any) -> str:
    """Canonical JSON."""
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(name)}:{_text(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _comment(which: int) -> None:
    """SQLite has no comments."""
    for column, texts in COMMENTS.items():
        op.alter_column("payloads", column, comment=texts[which])
