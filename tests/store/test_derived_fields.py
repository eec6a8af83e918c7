"""What a new field or kind of entity asks for elsewhere: tables, the derivation revision, and receivers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from collector.inventory.entities import ENTITIES, content_hash, doc
from collector.receivers import Receiver
from collector.store.tables import DERIVATION_REVISION
from collector.store.tables.entities import typed_columns
from tests.support.receivers import SECRET

SINCE = 5
"""The derivation revision whose fields have these hashes."""
HASHES = {
    "region": "0f3f6987c8948d4fa80476ff00443349",
    "keystone": "4638699453e32e2905c38e3a2aeead1e",
    "metrics_database": "ff6a7e3a13aef8a93f18328e1b67382a",
}
"""By kind: the content hash of an entity with the id 1, the state NEW, and no other value."""


def hash_of(entity: type[Struct]) -> str:
    given = {"id": 1, "state": "NEW"}
    return content_hash(entity(**{n: v for n, v in given.items() if n in entity.__struct_fields__}))  # type: ignore[arg-type]


def test_other_fields_need_another_derivation_revision() -> None:
    """Otherwise a running history keeps hashes of the old fields, and every entity changes at the next poll."""
    now = {kind: hash_of(entity) for kind, entity in ENTITIES.items()}
    assert now == HASHES, "increase DERIVATION_REVISION, then put it into SINCE and the new hashes here"
    assert DERIVATION_REVISION >= SINCE


class Thing(Struct, kw_only=True):
    id: int
    new: Annotated[int | None, doc("From 0002", added=True)] = None
    state: Annotated[str, doc("From 0001")]


def test_a_field_that_a_migration_added_stands_where_databases_put_it() -> None:
    assert [column.name for column in typed_columns(Thing)] == ["state"]
    assert [column.name for column in typed_columns(Thing, added=True)] == ["new"]


def test_receivers_may_ask_for_every_kind() -> None:
    asked = Receiver.model_validate(
        {"url": "https://hooks.example/", "secret": SECRET, "entities": [*ENTITIES]}
    )
    assert asked.entities == (*ENTITIES,)
