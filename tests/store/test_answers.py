"""Answers that are stored as what changed over an earlier one: read back as they were, and not to be forged."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from collector.audit.findings import Verification
from collector.audit.verify import verify
from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.errors import IntegrityError
from collector.gcore.delta import Texts, applied, delta, texts_of
from collector.gcore.document import Document, document_of, stored_document
from collector.gcore.jsontext import StrictJSONError
from collector.store.payloads import MAX_LINKS, Reader, load
from collector.store.tables import metadata
from tests.support.builders import answer, body, region
from tests.support.history import History, failure

# Deltas

_values = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "b,c", '"', "\ud800"])
_records = (
    _values
    | st.lists(_values, max_size=3)
    | st.dictionaries(
        st.sampled_from(["id", "state", "keystone", "zone"]),
        _values | st.lists(_values) | st.fixed_dictionaries({"id": _values}),
    )
)
documents = st.builds(
    lambda records, more: document_of(body({**more, "results": records})),
    st.lists(_records, max_size=8) | st.lists(_records, max_size=3).map(lambda some: some * 2),
    st.dictionaries(st.sampled_from(["count", "zzz"]), _values, max_size=2),
)


@given(documents, documents)
def test_a_delta_makes_the_one_answer_of_the_other(one: Document, other: Document) -> None:
    old, new = texts_of(one), texts_of(other)
    text = delta(old, new)
    assert applied(old, text) == new
    assert stored_document(other.canonical()) == other
    assert new.address() == other.address
    assert (text == "{}") == (old == new)


@given(st.randoms(use_true_random=False))
def test_a_delta_says_little_where_little_changed(chance: random.Random) -> None:
    before = [region(i) for i in range(1, 60)]
    after = [dict(r) for r in before if chance.random() > 0.05 or r["id"] < 5]
    new_ones = [region(i) for i in range(60, 60 + chance.randrange(3))]
    after += new_ones
    for each in chance.sample(after, 3):
        each["state"], each["has_ai"] = "MAINTENANCE", chance.random() < 0.5
    old, new = (texts_of(document_of(body(answer(each)))) for each in (before, after))
    text = delta(old, new)
    assert applied(old, text) == new
    added = sum(len(record) for record in new.records[len(new.records) - len(new_ones) :])
    assert len(text) < 1000 + 2 * added


BASE = Texts('{"count":2}', ('{"id":1,"state":"NEW"}', '{"id":2,"state":"NEW"}'))


def test_a_delta_is_what_it_is_said_to_be() -> None:
    new = Texts('{"count":2}', ('{"id":1,"state":"ACTIVE"}', '{"id":3}'))
    text = '{"edited":[[0,[1,1,"\\"state\\":\\"ACTIVE\\"}"]]],"gone":[1],"new":[[1,{"id":3}]]}'
    assert delta(BASE, new) == text
    assert applied(BASE, text) == new


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"more":1}',
        '{"gone":{}}',
        '{"gone":["0"]}',
        '{"gone":[-1]}',
        '{"gone":[2]}',
        '{"gone":[1,0]}',
        '{"gone":[0,0]}',
        '{"gone":[0.5]}',
        '{"gone":[1e99]}',
        '{"gone":[true]}',
        '{"gone":[0],"gone":[1]}',
        '{"new":[]' + "[" * 100_000,
        '{"new":[[3,{}]]}',
        '{"new":[[0]]}',
        '{"new":[[0,1,2]]}',
        '{"new":[[]]}',
        '{"new":[[0,1],[0,1]]}',
        '{"edited":[[0,[0,9]]]}',
        '{"edited":[[0,[1,1,7]]]}',
        '{"edited":[[0,[1,1],[0,1]]]}',
        '{"edited":[[0,[]]]}',
        '{"edited":[[0,0]]}',
        '{"edited":[[0,[-1,1]]]}',
    ],
)
def test_what_fits_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of many kinds
        applied(BASE, text)


# Storing


def told_long(
    engine: sa.Engine, *, polls: int = 60, regions: int = 20, bits: int = 2000, history: History | None = None
) -> tuple[History, list[bytes]]:
    """A history in which one region changes at each poll, and its answers."""
    history, chance = history or History(engine), random.Random(5)
    listed = [region(i, slug=f"{chance.getrandbits(bits):x}") for i in range(1, regions + 1)]
    said = []
    for number in range(polls):
        listed[number % regions] = {**listed[number % regions], "state": f"STATE {number}"}
        history.poll(listed)
        said.append(document_of(body(answer(listed))).canonical())
    return history, said


@pytest.mark.long
def test_answers_are_read_back_as_they_came(engine: sa.Engine) -> None:
    history, said = told_long(engine)
    rows = {row["address"]: row for row in history.rows("payloads")}
    seen = [rows[row["payload"]] for row in history.rows("observations")]
    assert max(row["links"] for row in seen) == MAX_LINKS
    assert [row["links"] for row in seen[: MAX_LINKS + 1]] == list(range(MAX_LINKS + 1))
    with reading(engine) as connection:
        reader = Reader(connection, 1)
        for row, text in zip(seen, said, strict=True):
            assert load(connection, 1, row["address"]).canonical() == text
            assert reader.load(row["address"]).canonical() == text
            assert row["size"] == len(text)
    history.verify()
    assert history.rebuilt().different == 0


@pytest.mark.long
def test_a_full_chain_is_folded_and_a_whole_answer_comes_where_deltas_come_to_much(history: History) -> None:
    told_long(history.engine, polls=130)
    rows = history.rows("payloads")
    assert sum(not row["links"] for row in rows) == 1  # deltas are small
    assert 1 < sum(row["links"] == 1 for row in rows) < 10
    whole = next(row for row in rows if not row["links"])
    assert sum(row["compressed_size"] for row in rows) < 4 * whole["compressed_size"]
    by_address = {row["address"]: row for row in rows}
    assert all(row["links"] == by_address[row["base"]]["links"] + 1 for row in rows if row["base"])
    other = History(history.engine, "preprod")
    told_long(history.engine, polls=40, regions=12, bits=40, history=other)
    assert sum(not row["links"] for row in history.rows("payloads", source_id=2)) == 3  # they are not


def test_a_new_process_writes_over_what_an_older_one_left(history: History) -> None:
    listed = [region(i) for i in range(1, 20)]
    for state in ("NEW", "ACTIVE", "DELETING"):
        history.poll([region(20, state), *listed])
        history.restart()
    assert sorted(row["links"] for row in history.rows("payloads")) == [0, 1, 2]
    history.verify()


def test_failures_in_between_change_nothing(history: History) -> None:
    listed = [region(i) for i in range(1, 20)]
    history.poll([region(20, "NEW"), *listed])
    history.poll(failure())
    history.poll([region(20, "ACTIVE"), *listed])
    assert sorted(row["links"] for row in history.rows("payloads")) == [0, 1]
    history.verify()


def test_an_answer_that_was_there_before_is_not_stored_again(history: History) -> None:
    listed = [region(i) for i in range(1, 20)]
    for state in ("NEW", "ACTIVE", "NEW", "ACTIVE", "DELETING"):
        history.poll([region(20, state), *listed])
    rows = history.rows("payloads")
    assert sorted(row["links"] for row in rows) == [0, 1, 2]
    history.verify()


def test_an_answer_that_has_little_of_the_last_one_is_whole(history: History) -> None:
    chance = random.Random(1)
    for _ in range(2):
        history.poll([region(i, slug=f"{chance.getrandbits(4000):x}") for i in range(1, 9)])
    assert [row["links"] for row in history.rows("payloads")] == [0, 0]


def test_a_new_process_does_not_write_over_what_is_damaged(history: History) -> None:
    listed = [region(i) for i in range(1, 20)]
    history.poll([region(20, "NEW"), *listed])
    with writing(history.engine) as connection:
        connection.execute(sa.update(metadata.tables["payloads"]).values(body=b"damaged"))
    history.restart()
    history.poll([region(20, "ACTIVE"), *listed], at=10_000)
    assert [row["links"] for row in history.rows("payloads")] == [0, 0]


def test_going_back_to_the_older_schema_makes_answers_whole(engine: sa.Engine) -> None:
    history, said = told_long(engine, polls=25)
    more = document_of(
        body({"count": 1.0, "note": "é,", "results": [region(3, tags=[1e9, None, {"a": "b"}])]})
    )
    history.poll(more.canonical())
    migrate.downgrade(engine, "0003")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT body, compressed_size FROM payloads").all()
    assert {zlib.decompress(row.body) for row in rows} == {*said, more.canonical()}
    assert all(len(row.body) == row.compressed_size for row in rows)
    migrate.upgrade(engine)
    history.verify()


# Forging


@pytest.fixture(scope="module")
def long_told(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{path}")
    told_long(engine, polls=40)
    engine.dispose()
    return path


class Forger:
    """Writes rows of answers as it likes: no constraint is in the way."""

    def __init__(self, path: Path) -> None:
        self.engine = sa.create_engine(f"sqlite:///{path}")
        self.history = History(open_engine(f"sqlite:///{path}"))
        rows = {row["address"]: row for row in self.history.rows("payloads")}
        self.chain = [rows[row["payload"]] for row in self.history.rows("observations")]
        """In the order in which they were written."""

    def write(self, number: int, **values: Any) -> None:
        row, p = self.chain[number], metadata.tables["payloads"]
        with self.engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            where = (p.c.source_id == 1, p.c.address == row["address"])
            assert connection.execute(sa.update(p).where(*where).values(values)).rowcount == 1

    def delete(self, number: int) -> None:
        p = metadata.tables["payloads"]
        with self.engine.begin() as connection:
            connection.execute(sa.delete(p).where(p.c.address == self.chain[number]["address"]))

    def text(self, number: int) -> str:
        return zlib.decompress(self.chain[number]["body"]).decode()

    def document(self, number: int) -> Document:
        with reading(self.history.engine) as connection:
            return load(connection, 1, self.chain[number]["address"])

    def say(self, number: int, text: str, **values: Any) -> None:
        packed = zlib.compress(text.encode(), 6)
        self.write(number, body=packed, compressed_size=len(packed), **values)

    def above(self, number: int) -> int:
        """How many answers are written over this one."""
        under = {row["address"]: row["base"] for row in self.chain}

        def chain_of(address: str | None) -> Iterator[str]:
            while address:
                yield address
                address = under[address]

        mine = self.chain[number]["address"]
        return sum(mine in chain_of(row["base"]) for row in self.chain)

    def found(self) -> Verification:
        return verify(self.history.engine, "gcore")


@pytest.fixture
def forger(long_told: Path, tmp_path: Path) -> Iterator[Forger]:
    path = tmp_path / "forged.db"
    path.write_bytes(long_told.read_bytes())
    forger = Forger(path)
    assert forger.found().verdict == "good"
    yield forger
    forger.engine.dispose()
    forger.history.engine.dispose()


def other_state(forger: Forger) -> None:
    forger.say(5, forger.text(5).replace("STATE 5", "STATE x"))


def over_another(forger: Forger) -> None:
    """The same answer as a difference from the whole one: well-formed, except for its links."""
    texts = [texts_of(forger.document(n)) for n in (0, 5)]
    forger.say(5, delta(*texts), base=forger.chain[0]["address"])


def over_another_with_its_old_text(forger: Forger) -> None:
    forger.write(5, base=forger.chain[3]["address"], links=4)


def body_of_another(forger: Forger) -> None:
    forger.write(5, body=forger.chain[6]["body"], compressed_size=forger.chain[6]["compressed_size"])


def adds_nothing(forger: Forger) -> None:
    forger.say(5, "{}")


def a_record_twice(forger: Forger) -> None:
    record = forger.document(5).records[0].text
    forger.say(5, forger.text(5)[:-1] + f',"new":[[0,{record}]]}}')


def no_json(forger: Forger) -> None:
    forger.say(5, forger.text(5)[:-1])


def not_compressed(forger: Forger) -> None:
    forger.write(5, body=b"x" * 100, compressed_size=100)


def over_itself(forger: Forger) -> None:
    forger.write(5, base=forger.chain[5]["address"])


def in_a_circle(forger: Forger) -> None:
    forger.write(5, base=forger.chain[7]["address"])


def links_too_many(forger: Forger) -> None:
    forger.write(5, links=7)


def links_of_a_whole_one(forger: Forger) -> None:
    forger.write(5, links=0)


UNREADABLE: tuple[tuple[Callable[[Forger], None], str], ...] = (
    (other_state, "has the content of"),
    (over_another, "links"),
    (over_another_with_its_old_text, "has the content of"),
    (body_of_another, "has the content of"),
    (adds_nothing, "has the content of"),
    (a_record_twice, "has the content of"),
    (no_json, "can't be read"),
    (not_compressed, "can't be read"),
    (over_itself, "written over itself"),
    (in_a_circle, "written over itself"),
    (links_too_many, "has 7 links, but is written over 5"),
    (links_of_a_whole_one, "has 0 links, but is written over 5"),
)


@pytest.mark.parametrize(("forge", "why"), UNREADABLE, ids=[forge.__name__ for forge, _ in UNREADABLE])
def test_the_damaged_link_is_named_once_with_what_rests_on_it(
    forger: Forger, forge: Callable[[Forger], None], why: str
) -> None:
    above = forger.above(5)
    assert above > 5
    forge(forger)
    found = forger.found()
    assert found.verdict == "altered"
    (broken,) = found.breaks
    address = forger.chain[5]["address"]
    assert (broken.table, broken.key) == ("payloads", {"address": address})
    assert why in broken.why
    assert f"{above} answers are written over it" in broken.why
    with (
        reading(forger.history.engine) as connection,
        pytest.raises(IntegrityError, match=f"^payload {address} .* payload .* is written over it$"),
    ):
        load(connection, 1, forger.chain[9]["address"])


def test_a_base_that_was_removed_is_named(forger: Forger) -> None:
    above = forger.above(5)
    forger.delete(5)
    breaks = [b for b in forger.found().breaks if b.table == "payloads"]
    (broken,) = breaks
    assert broken.key == {"address": forger.chain[5]["address"]}
    assert broken.why == f"this row is missing; {above} answers are written over it and can't be read"


def more_blanks(forger: Forger) -> None:
    forger.say(5, forger.text(5).replace(",", ", ", 1))


def longer_than_needed(forger: Forger) -> None:
    """The same answer, but a record goes and comes again."""
    forger.say(5, f'{{"gone":[0],"new":[[0,{forger.document(4).records[0].text}]],' + forger.text(5)[1:])


def an_envelope_too_many(forger: Forger) -> None:
    forger.say(5, forger.text(5)[:-1] + f',"envelope":{texts_of(forger.document(5)).envelope}}}')


def all_again(forger: Forger) -> None:
    texts = texts_of(forger.document(5))
    gone = ",".join(map(str, range(len(texts.records))))
    new = ",".join(f"[{i},{text}]" for i, text in enumerate(texts.records))
    forger.say(5, f'{{"gone":[{gone}],"new":[{new}]}}')


def junk_after_it(forger: Forger) -> None:
    packed = forger.chain[5]["body"] + b"junk"
    forger.write(5, body=packed, compressed_size=len(packed))


def a_second_stream(forger: Forger) -> None:
    packed = forger.chain[5]["body"] + zlib.compress(b"{}")
    forger.write(5, body=packed, compressed_size=len(packed))


@pytest.mark.parametrize(
    "forge",
    [more_blanks, longer_than_needed, an_envelope_too_many, all_again, junk_after_it, a_second_stream],
)
def test_nothing_hides_in_a_delta_that_makes_the_right_answer(
    forger: Forger, forge: Callable[[Forger], None]
) -> None:
    forge(forger)
    (broken,) = forger.found().breaks
    assert broken.key == {"address": forger.chain[5]["address"]}
    assert (broken.field, broken.why) == ("body", "not in canonical form")


@pytest.mark.parametrize("name", ["size", "compressed_size", "canonical_version"])
def test_sizes_of_a_delta_are_true(forger: Forger, name: str) -> None:
    forger.write(5, **{name: 7})
    (broken,) = forger.found().breaks
    assert (broken.key, broken.field) == ({"address": forger.chain[5]["address"]}, name)


def test_a_chain_that_is_too_long_is_found(forger: Forger) -> None:
    """Each link of it is well made."""
    last = next(n for n, row in enumerate(forger.chain) if row["links"] == MAX_LINKS)
    one, other = (texts_of(forger.document(n)) for n in (last, last + 1))
    forger.say(last + 1, delta(one, other), base=forger.chain[last]["address"], links=MAX_LINKS + 1)
    (broken,) = forger.found().breaks
    assert broken.key == {"address": forger.chain[last + 1]["address"]}
    assert "has 17 links, but is written over 17 others (at most 16)" in broken.why


@pytest.mark.parametrize("place", ["record", "envelope"])
def test_an_answer_as_deep_as_any_is_read_over_another(place: str) -> None:
    plain = document_of(body(answer([region(2)])))

    def deep(levels: int) -> bytes:
        nested: Any = 1
        for _ in range(levels):
            nested = [nested]
        if place == "record":
            return body(answer([region(1) | {"deep": nested}, region(2)]))
        return body(answer([region(2)]) | {"deep": nested})

    most = 61 if place == "record" else 63
    with pytest.raises(StrictJSONError, match="nested deeper"):
        document_of(deep(most + 1))
    deepest = texts_of(document_of(deep(most)))
    for one, other in ((texts_of(plain), deepest), (deepest, texts_of(plain))):
        assert applied(one, delta(one, other)) == other
