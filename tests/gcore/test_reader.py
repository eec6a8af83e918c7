"""A reader says what `document_of` says of every answer, whatever it read before."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.gcore import document, documented, jsontext, listing, reader, redaction, secret_names, wire
from collector.gcore.body import MAX_BODY
from collector.gcore.document import (
    LIMITS,
    Document,
    Limits,
    NotAListingError,
    Record,
    document_of,
    stored_document,
)
from collector.gcore.jsontext import Number, StrictJSONError, dumps, loads
from collector.gcore.listing import listing_of
from collector.gcore.reader import Reader
from collector.gcore.redaction import Redaction
from collector.gcore.secret_keys import keys_of
from collector.gcore.secret_names import is_secret_name
from collector.gcore.secret_texts import scrub_text
from collector.gcore.words import AnyOf
from collector.inventory.entities import Listing
from collector.settings.models import Source
from collector.store.opening import limits_of
from tests.support.builders import answer, body, keystone, metrics_database, region
from tests.support.fuzzing import NAMES, TEXTS, Fuzzer
from tests.support.greedy import SHAPES
from tests.support.spelling import any_texts, joined, listings, spelled, texts

KEY, OTHER_KEY = "7351$qzWxvKpR8mTn", "9fK2$another-key-of-ours"


def said(read: Callable[[], Document]) -> Any:
    """All that an answer says, or how it is refused."""
    try:
        document = read()
    except (StrictJSONError, NotAListingError) as error:
        return type(error), str(error), getattr(error, "document", None)
    meaning = listing_of(document)
    texts = [(record.text, record.id, record.digest, record.value) for record in document.records]
    return (
        document,
        texts,
        document.canonical(),
        meaning,
        meaning.drift,
        [repr(s) for s in meaning.shown.values()],
    )


@cache
def alone(body_: bytes, key: str = KEY, limits: Limits | None = None) -> Any:
    """The same by the slow way, with nothing remembered, and each record understood field by field."""
    whole, documented.read = documented.read, lambda _raw: None
    listing._remembered.cache_clear()
    try:
        return said(lambda: document_of(body_, (key,), *([limits] if limits else [])))
    finally:
        documented.read = whole
        listing._remembered.cache_clear()


def agree(bodies: Iterable[bytes], keys: Iterable[str] = (), limits: Limits | None = None) -> Reader:
    """Read one after another, and understand each beside the one before."""
    reader_ = Reader(*([limits] if limits else []))
    key = iter(keys)
    before: tuple[Document, Listing] | None = None
    for body_ in bodies:
        asked_with = next(key, KEY)
        remembered = said(partial(reader_.read, body_, (asked_with,)))
        assert remembered == alone(body_, asked_with, limits), body_[:2000]
        if isinstance(document := remembered[0], Document):
            assert len(document.canonical()) == document.size()
            meaning = listing_of(document, before)
            assert (meaning, meaning.drift) == (remembered[3], remembered[4])
            before = document, meaning
    return reader_


# Any answers


def bodies_of(seed: int, count: int) -> Iterable[bytes]:
    """Answers that are each a little like the one before."""
    fuzzer = Fuzzer(str(seed))
    chance = fuzzer.chance
    before = [body(answer(fuzzer.good()))]
    for _ in range(count):
        kind = chance.random()
        if kind < 0.5:
            before.append(fuzzer.answer())
        elif kind < 0.7:
            before.append(fuzzer.bytes_from(chance.choice(before)))
        else:
            before.append(chance.choice(before))
    return before


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
def test_fuzzed_answers_read_the_same(seed: int) -> None:
    chance = random.Random(seed)
    agree(bodies_of(seed, 40), (chance.choice([KEY, KEY, KEY, OTHER_KEY]) for _ in range(50)))


@given(st.lists(st.tuples(listings, st.integers()), min_size=1, max_size=4), st.data())
@settings(max_examples=150)
def test_any_listings_read_the_same(given_: list[tuple[dict[str, Any], int]], data: st.DataObject) -> None:
    bodies = [spelled(joined(each), seed) for each, seed in given_]
    agree(data.draw(st.lists(st.sampled_from(bodies), min_size=1, max_size=6)))


def regions(count: int, **overrides: Any) -> list[dict[str, Any]]:
    return [
        region(i, metrics_database_id=i % 3, metrics_database=metrics_database(i % 3), **overrides)
        for i in range(1, count + 1)
    ]


def changed(listed: list[dict[str, Any]], at: int, **overrides: Any) -> list[dict[str, Any]]:
    return [each | overrides if i == at else each for i, each in enumerate(listed)]


LISTED, MANY = regions(12), regions(40)
USUAL = body(answer(LISTED))
EACH = body(LISTED[0])
VARIANTS: dict[str, bytes] = {
    "the same": USUAL,
    "reordered": body(answer(LISTED[::-1])),
    "compact": json.dumps(answer(LISTED), separators=(",", ":")).encode(),
    "indented": json.dumps(answer(LISTED), indent=2).encode(),
    "keys sorted": json.dumps(answer(LISTED), sort_keys=True).encode(),
    "blanks of all kinds": USUAL.replace(b"}, {", b"}\r\n,\t {"),
    "blanks here and there": USUAL.replace(b"}, {", b"} ,{", 3),
    "one changed": body(answer(changed(LISTED, 7, state="NEW"))),
    "one gone": body(answer(LISTED[1:])),
    "one more": body(answer([*LISTED, region(99)])),
    "one twice": body(answer([*LISTED, LISTED[3]])),
    "one twice and different": body(answer([*LISTED, LISTED[3] | {"state": "NEW"}])),
    "one alone": body(answer(LISTED[:1])),
    "none": body(answer([])),
    "another count": body(answer(LISTED, count=7)),
    "more members": body(answer(LISTED, next=None, meta={"total": 3}, api_key="x")),
    "a byte order mark": b"\xef\xbb\xbf" + USUAL,
    "two byte order marks": b"\xef\xbb\xbf" * 2 + USUAL,
    "blanks around": b" \n" + USUAL + b"\t ",
    "more after it": USUAL + b"{}",
    "half": USUAL[: len(USUAL) // 2],
    "without its end": USUAL[:-1],
    "results twice": USUAL[:-1] + b', "results": []}',
    "results twice, escaped": USUAL[:-1] + b', "r\\u0065sults": []}',
    "results escaped": USUAL.replace(b'"results"', b'"r\\u0065sults"'),
    "count twice": USUAL[:-1] + b', "count": 12}',
    "a name twice in a record": USUAL.replace(b'"id": 5,', b'"id": 5, "x": 1, "x": 1,'),
    "a name twice in an object of a record": USUAL.replace(b'"id": 1005,', b'"id": 1005, "id": 1005,'),
    "results within": b'{"x": ' + USUAL + b', "count": 1, "results": [' + EACH + b"]}",
    "results in results": b'{"count": 1, "results": [' + USUAL + b"]}",
    "a record before the results": b'{"x": ' + EACH + b', "results": [' + EACH + b"]}",
    "records before the results": b'{"x": [' + EACH + b", " + EACH + b'], "results": [' + EACH + b", " + EACH + b"]}",
    "results in a list": b"[" + USUAL + b"]",
    "results of another type": b'{"count": 1, "results": ' + EACH + b"}",
    "no results": b'{"count": 1, "result": [' + EACH + b"]}",
    "what stands for records": b'{"count": -7.00e-7, "results": [' + EACH + b"]}",
    "only what stands for records": b'{"count": 1, "results": [-7.00e-7]}',
    "a comma too many": USUAL.replace(b"}]}", b"},]}"),
    "a comma too few": USUAL.replace(b"}, {", b"} {", 1),
    "two commas": USUAL.replace(b"}, {", b"},, {", 1),
    "a number before the records": USUAL.replace(b'"results": [', b'"results": [1, '),
    "a minus before the records": USUAL.replace(b'"results": [', b'"results": [-'),
    "no objects": body(answer([*LISTED, None, 1, "x", [], True])),
    "options": body(answer([*LISTED, "--password", "hunter2"])),
    "pairs": body(answer([*LISTED, ["password", "hunter2"]])),
    "NaN": USUAL.replace(b"9097", b"NaN"),
    "NaN around": USUAL.replace(b'"count": 12', b'"count": NaN'),
    "odd numbers": body(answer(LISTED)).replace(b'"id": 5,', b'"id": 5.0,').replace(b"9097", b"-0"),
    "huge numbers": USUAL.replace(b'"id": 5,', b'"id": 5' + b"0" * 5000 + b","),
    "ids at the edge": body(answer([region(2**63 - 1), region(-(2**63)), region(2**63), region(10**18)])),
    "a leading zero": USUAL.replace(b'"id": 5,', b'"id": 05,'),
    "bytes that are no text": USUAL.replace(b"Region 5", b"Region \xff"),
    "surrogates": USUAL.replace(b"Region 5", b"\\ud800").replace(b"Region 6", b"\\ud83d\\ude00"),
    "surrogates in bytes": USUAL.replace(b"Region 5", b"\xed\xa0\x80"),
    "NUL": USUAL.replace(b"Region 5", b"\\u0000"),
    "control characters": USUAL.replace(b"Region 5", b"\x01"),
    "escapes": USUAL.replace(b"Region 5", b"\\b\\f\\n\\r\\t\\/\\\\\\\"\\u007f\x7f\\u00e9"),
    "letters of other alphabets": USUAL.replace(b"Region 5", "Zürich 東京 =:".encode()),
    "wrong escapes": USUAL.replace(b"Region 5", b"\\x"),
    "as deep as may be": USUAL.replace(b'"id": 5,', b'"id": 5, "x": ' + b"[" * 61 + b"]" * 61 + b","),
    "deeper than may be": USUAL.replace(b'"id": 5,', b'"id": 5, "x": ' + b"[" * 62 + b"]" * 62 + b","),
    "many lists, not deep": USUAL.replace(b'"id": 5,', b'"id": 5, "x": [' + b"[]," * 80 + b"1],"),
    "far too deep": USUAL.replace(b'"id": 5,', b'"id": 5, "x": ' + b"[" * 5000 + b"]" * 5000 + b","),
    "deep around": USUAL[:-1] + b', "x": ' + b"[" * 63 + b"]" * 63 + b"}",
    "too deep around": USUAL[:-1] + b', "x": ' + b"[" * 64 + b"]" * 64 + b"}",
    "a key around": body(answer(LISTED, x=f"apikey {KEY}")),
    "a key": body(answer(changed(LISTED, 3, display_name=f"asked with {KEY[:9]}"))),
    "another key": body(answer(changed(LISTED, 3, display_name=f"asked with {OTHER_KEY}"))),
    "a key in a name": body(answer(changed(LISTED, 3, **{KEY: 1}))),
    "a key in a number": USUAL.replace(b'"id": 5,', b'"id": 5, "x": 735112345678,'),
    "secrets": body(answer(changed(LISTED, 3, url="https://u:hunter2@h/", secret="x", args=["--token", "y"]))),
    "secrets of other forms": body(answer(changed(LISTED, 3, x='{"password": "p", "n": 1.0}', y="token=abc",
        p=["pin", 1]))),
    "named secrets": body(answer(changed(LISTED, 3, x={"name": "password", "value": "p"},
        y={"secret_name": "pw", "v": "p"}))),
    "names that hold secrets": body(answer(changed(LISTED, 3, **{"token=abc": 1, "token=def": 2, "é": 3}))),
    "the marker": body(answer(changed(LISTED, 3, display_name="[redacted]", password="[redacted]"))),
    "no passwords": body(answer([each | {"keystone": keystone(1, password=None)} for each in LISTED])),
    "other states": body(answer(changed(LISTED, 3, state="FROZEN", zone="MOON"))),
    "unknown fields": body(answer([each | {"x": 1, "y": {"z": []}} for each in LISTED])),
    "unknown fields within": body(answer(changed(LISTED, 3, keystone=keystone(1004, admin_password="x", n=None)))),
    "endpoints": body(answer(changed(LISTED, 3, ddos_endpoint_id=3, ddos_endpoint={
        "client_ids": [3, 1, 3], "created_on": "2020-01-01T00:00:00", "id": 3, "region_id": 4, "service": "caas",
        "updated_at": "2020-01-01 00:00:00+02:00", "url": "https://x", "version": "v1"}))),
    "impossible times": body(answer(changed(LISTED, 3, created_on="2023-02-30T00:00:00"))),
    "times of other forms": body(answer(changed(LISTED, 3, created_on="2019-W01-1T10:00:00"))),
    "long names in lists": body(answer(changed(LISTED, 3, available_volume_types=["x" * 256, "a", "a"]))),
    "a long record": body(answer(changed(LISTED, 3, display_name="x" * 20_000))),
    "no state": body(answer(changed(LISTED, 3, state=""))),
    "no id": body(answer(changed(LISTED, 3, id=None))),
    "empty records": body(answer([{}, {}, {"id": 1}])),
}  # fmt: skip


def test_every_variant_reads_the_same_first_or_after_any_other() -> None:
    for name in VARIANTS:
        agree([VARIANTS[name], USUAL, VARIANTS[name], VARIANTS[name]])
    chance = random.Random(11)
    names = [chance.choice(list(VARIANTS)) for _ in range(150)]
    agree([VARIANTS[name] for name in names], [chance.choice([KEY, KEY, OTHER_KEY]) for _ in names])


def test_a_key_that_was_no_key_yet_is_not_remembered_as_harmless() -> None:
    body_ = body(answer(changed(LISTED, 3, display_name=f"asked with {OTHER_KEY}")))
    read = Reader()
    assert OTHER_KEY in read.read(body_, (KEY,)).canonical().decode()
    assert OTHER_KEY not in read.read(body_, (OTHER_KEY,)).canonical().decode()
    agree([body_] * 4, [KEY, OTHER_KEY, OTHER_KEY, KEY])


@pytest.mark.parametrize(
    "limits", [Limits(records=39), Limits(values=1500), Limits(effort=40), Limits(effort=52)], ids=str
)
def test_what_costs_too_much_is_refused_whether_or_not_it_is_remembered(limits: Limits) -> None:
    def named(count: int) -> bytes:
        return body(answer([each | {f"x{i}": "a=1 token"} for i, each in enumerate(MANY[:count])]))

    agree([named(n) for n in (1, 3, 5, 6, 7, 8, 10, 12, 20, 30, 38, 39, 40, 20, 10, 5)], limits=limits)
    agree([body(answer(MANY[:n])) for n in (10, 36, 37, 38, 39, 40, 39, 38)], limits=limits)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_costly_reads_the_same(shape: str) -> None:
    bodies = SHAPES[shape](20_000)
    agree([*bodies, *bodies])


# What is remembered


def test_only_new_records_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(
        reader, "_record", lambda raw, *rest, ours=reader._record: read.append(raw) or ours(raw, *rest)
    )
    ours = Reader()

    def new_in(name: str) -> int:
        read.clear()
        ours.read(VARIANTS[name], (KEY,))
        return len(read)

    counts = [
        new_in(name)
        for name in ("the same", "reordered", "one changed", "one gone", "another count", "compact")
    ]
    assert counts == [12, 0, 1, 1, 1, 12]
    assert [new_in(name) for name in ("a key", "a key", "compact", "one twice")] == [12, 1, 12, 13]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_REMEMBERED", 4 * len(EACH))
    ours = agree([USUAL, VARIANTS["reordered"], USUAL, VARIANTS["one changed"]])
    assert 0 < len(ours._known) <= 4
    assert {len(name) for name in ours._known} == {32}


# Large answers


@pytest.fixture
def little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (document, reader):
        monkeypatch.setattr(module, "MAX_AT_ONCE", 2000)


@pytest.mark.usefixtures("little_at_once")
def test_what_is_too_large_to_be_read_at_once_is_read_record_by_record_or_refused() -> None:
    ours, refused = Reader(), set()
    for name, body_ in VARIANTS.items():
        if len(body_) > 2000 and (found := said(partial(ours.read, body_, (KEY,)))) != alone(body_):
            assert found[0] in (NotAListingError, StrictJSONError), name
            refused.add(name)
    legal = {name for name in refused if isinstance(alone(VARIANTS[name])[0], Document)}
    assert legal <= {
        *("no objects", "options", "pairs", "surrogates", "a number before the records", "results within"),
        *("results in results", "records before the results", "a record before the results"),
    }
    assert {"the same", "reordered", "compact", "indented", "one changed", "a key", "endpoints"}.isdisjoint(
        refused
    )


@pytest.mark.usefixtures("little_at_once")
@pytest.mark.parametrize(
    ("body_", "limits", "why"),
    [
        (body(answer([*LISTED, None])), Limits(), "more than 2,000 bytes .* records are not all objects"),
        (
            body(answer(LISTED, x="x" * 2000)),
            Limits(),
            "everything that is not a record, take more than 2,000",
        ),
        (body(answer([*LISTED, {"id": 1, "x": "x" * 70_000}])), Limits(), "records longer than 65,536 bytes"),
        (body(answer(regions(5))), Limits(records=4), "holds 5 records, more than 4"),
        (body(answer(regions(5))), Limits(values=100), "more than 100 values"),
        (
            body(answer([each | {f"x{i}": 1} for i, each in enumerate(regions(11))])),
            Limits(effort=10),
            "more than 10 different names",
        ),
        (body(answer(regions(5))), Limits(bytes=4000), "canonical form is longer than 4,000"),
        (
            body(answer([{"id": i, "x": "key " * 9} for i in range(90)])),
            Limits(),
            "may hold secrets take more",
        ),
        (
            body(answer([{"id": i, "x": "%41" * 300} for i in range(9)])),
            Limits(),
            "may hold secrets take more",
        ),
        (
            body(answer([{"id": 1, "x": f"{KEY}{i}"} for i in range(99)])),
            Limits(),
            "may hold secrets take more",
        ),
        (USUAL[:-200], Limits(), "not JSON: Input data was truncated"),
        (USUAL.replace(b'"id": 5,', b'"id": 5, "id": 5,'), Limits(), "'id' occurs twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_why_a_large_answer_is_refused(body_: bytes, limits: Limits, why: str) -> None:
    with pytest.raises((NotAListingError, StrictJSONError), match=why):
        Reader(limits).read(body_, (KEY,))


@pytest.mark.parametrize(("end", "error"), [(b"", NotAListingError), (b"}", StrictJSONError)])
def test_what_is_too_much_to_judge_is_judged_once(
    monkeypatch: pytest.MonkeyPatch, end: bytes, error: type[Exception]
) -> None:
    judged: list[str] = []
    monkeypatch.setattr(redaction, "scrub_text", lambda text: judged.append(text) or scrub_text(text))  # type: ignore[func-returns-value]
    body_ = body(answer([{"id": 1, "state": "A", "x": [f"api key={i}" for i in range(500)]}])) + end
    with pytest.raises(error):
        Reader(Limits(effort=100)).read(body_, (KEY,))
    assert len(judged) <= 100


def test_more_values_than_are_read_are_counted_before_anything_is_made_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(reader, "part")
    with pytest.raises(NotAListingError, match="more than 100 values"):
        Reader(Limits(values=100)).read(b'{"results": [' + b"0," * 1000 + b"0]}", (KEY,))


def test_ten_thousand_regions_of_3_kb_are_admitted() -> None:
    """By bytes, values, and names and texts that may hold secrets; a hundred of them are read."""
    filling = {f"field_{i}": f"https://ed-{i}.cloud.core.pw:5000/v3/{'x' * 40}" for i in range(6)}
    listed = [each | filling | {"more": ["x" * 90] * 16} for each in regions(100)]
    body_ = body(answer(listed))
    assert 2_900 < len(body_) / 100 < 3_300
    hundredth = Limits(bytes=LIMITS.bytes // 100, values=LIMITS.values // 100)
    assert len(body_) < hundredth.bytes
    judged = Redaction(effort=LIMITS.effort)
    judged.of(loads(body_))
    assert (LIMITS.effort - judged._left) * 100 < LIMITS.effort * 1.5
    assert len(Reader(hundredth).read(body_).records) == 100


def test_settings_set_the_limits() -> None:
    source = Source(max_body=70_000, max_regions=5, max_values=5000)
    assert limits_of(source) == Limits(bytes=70_000, records=5, values=5000)
    assert limits_of(Source()) == LIMITS
    assert Source().max_body == MAX_BODY


# Each short way is equal to the long one


@st.composite
def nearly_documented(draw: st.DrawFn) -> bytes:
    """A region of which some values, or their spelling, are perhaps otherwise than documented."""
    endpoint = {"client_ids": [3, 1], "created_on": "2020-01-01T00:00:00", "id": 3, "region_id": 4,
        "service": "caas", "updated_at": "2020-01-01 00:00:00+02:00", "url": "https://x", "version": "v1"}  # fmt: skip
    record = region(draw(st.integers(-1, 9)), metrics_database_id=5, metrics_database=metrics_database(5),
        ddos_endpoint_id=3, ddos_endpoint=draw(st.sampled_from([None, endpoint])))  # fmt: skip
    objects = [each for each in (record, *record.values()) if isinstance(each, dict)]
    for node in draw(st.lists(st.sampled_from(objects), max_size=3)):
        name = draw(st.sampled_from(sorted(node)))
        node[name] = draw(
            field_texts
            | st.lists(field_texts, max_size=3)
            | st.sampled_from([None, True, 0, 12345678, 2**63, "2023-02-30T00:00:00", "DELETED"])
        )
        if draw(st.integers(0, 5)) == 0:
            del node[name]
    text = json.dumps(record, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 1])))
    as_is, odd = draw(st.sampled_from([
        ("", ""), ("", ""), ("", ""), ("9097", "-0"), ("9097", "9097.0"), ("9097", "1e3"), ("9097", "09"),
        ('"port":', '"port": 1, "port":'), ('"password":', '"password": null, "password":'),
        ('"port":', '"p\\u006frt":'), ('"port"', '"port" '), ('"host":', '"ho:st":'), ("Region", "Reg\tion"),
    ]))  # fmt: skip
    return text.replace(as_is, odd, 1).encode("utf-8", "surrogatepass")


field_texts = (
    st.sampled_from(
        [*TEXTS, *NAMES, KEY, f"asked with {KEY[2:11]}", "--password", "[1]", "[a", "a@b", "ed.core.pw"]
    )
    | any_texts
    | st.text('pasw_-=:/@%ord {["key1')
)


@given(
    st.lists(nearly_documented(), min_size=1, max_size=3), st.sampled_from([KEY, OTHER_KEY, "12345678", "ed"])
)
@settings(max_examples=300)
def test_records_that_are_nearly_documented_read_the_same(records: list[bytes], key: str) -> None:
    body_ = b'{"count": 1, "results": [' + b", ".join(records) + b"]}"
    agree([body_, body_], [key, key])
    for raw in records:
        known = documented.read(raw)
        if known is None:
            continue
        value = loads(raw)
        assert documented.text_of(known) == dumps(value)
        redacted, judged = Redaction(documented=wire.documented_names(), effort=10_000).record(value)
        found = redaction.judged_harmless(documented.shown_of(known))
        if found is not None:
            documented.hide(known)
            assert documented.text_of(known) == dumps(redacted)
            assert found == judged._replace(names=frozenset())


def test_documented_names_of_secrets_are_those_that_are_hidden() -> None:
    names = wire.documented_names()
    assert {name for name in names if is_secret_name(name)} == {"password"}
    assert not any(map(secret_names.is_named, names))


@given(
    st.lists(st.sampled_from(TEXTS + NAMES) | any_texts, max_size=4).map(" ".join),
    st.lists(texts, max_size=4),
)
def test_any_of_some_words_is_found_wherever_it_stands(text: str, words: list[str]) -> None:
    stands = any(word in text for word in words if word)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        stands = True
    assert AnyOf(words).may_stand_in(text) == stands
    assert AnyOf(["=", *words]).may_stand_in(f"{text}={text}")


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**9) | st.sampled_from(TEXTS) | any_texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | any_texts, inner, max_size=4)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from([*NAMES, "name", "value", "secret_name"]), plain_values, max_size=6))
def test_a_record_is_redacted_by_itself_as_any_value_is(value: dict[str, Any]) -> None:
    long, short = Redaction(effort=10_000), Redaction(effort=10_000)
    expected = long.of(value)
    redacted, judged = short.record(value)
    assert redacted == expected
    assert short._left == long._left
    again = Redaction(effort=10_000)
    again.pay([judged])
    assert again._left == long._left


@given(st.text(max_size=60) | st.sampled_from([KEY, KEY[2:11], KEY.upper(), KEY.encode().hex()]).map("a 31 2{}".format),
       st.sampled_from([(KEY,), (KEY[:9],), (KEY, "a%41b\\u0041xyz"), ("abc",), ("",)]))  # fmt: skip
def test_a_glance_at_a_text_misses_no_part_of_a_key(text: str, keys: tuple[str, ...]) -> None:
    known = keys_of(keys, 8)
    text = dumps(text)
    assert known.stand_in(text) == (known.scrub(text) != text)


def parsed(record: Record) -> Any:
    return listing._at_once(documented.read(record.text.encode()))


@given(st.integers())
@settings(max_examples=300)
def test_a_record_read_at_once_says_what_it_says_field_by_field(seed: int) -> None:
    fuzzer = Fuzzer(str(seed))
    document = loads(body(answer(fuzzer.good())))
    place = fuzzer.place(document["results"])
    if place is not None:
        node, key = place
        node[key] = fuzzer.leaf()
    for record in stored_document(dumps(document).encode()).records:
        at_once = parsed(record)
        assert at_once is None or at_once == listing._by_field(record)


def test_usual_records_are_read_at_once() -> None:
    usual = ["the same", "endpoints", "no passwords", "indented", "one twice"]
    for name in usual:
        for record in document_of(VARIANTS[name]).records:
            assert parsed(record) == listing._by_field(record)
            assert parsed(record) is not None


def test_a_number_is_a_number_however_it_was_read() -> None:
    assert jsontext.type_name(1) == jsontext.type_name(Number("1")) == "number"
    assert jsontext.integer(1) == jsontext.integer(Number("1.0")) == 1
    assert jsontext.integer(True) is None
