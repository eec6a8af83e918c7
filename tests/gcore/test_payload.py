"""Answers as evidence: read strictly, written in one canonical form, found by one address."""

from __future__ import annotations

import hashlib
import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from collector.gcore.document import Document, Limits, NotAListingError, document_of, stored_document
from collector.gcore.jsontext import MAX_DEPTH, Number, StrictJSONError, dumps, loads
from collector.gcore.listing import _remembered, listing_of
from tests.support.builders import MISSING, answer, body, keystone, region
from tests.support.spelling import joined, listings, literals, records, spelled, values

# JSON values, and their spellings


# The canonical form


@given(values, st.integers())
def test_every_spelling_of_a_value_has_the_same_canonical_text(value: Any, seed: int) -> None:
    value = joined(value)
    assert loads(spelled(value, seed)) == value
    assert dumps(loads(spelled(value, seed))) == dumps(value)


@given(values)
def test_the_canonical_text_is_ascii_without_blanks_and_reads_as_the_same_value(value: Any) -> None:
    value = joined(value)
    text = dumps(value)
    assert text.isascii()
    assert text.isprintable()
    assert loads(text.encode()) == value
    assert dumps(loads(text.encode())) == text


@given(values, values)
def test_different_values_have_different_canonical_texts(one: Any, other: Any) -> None:
    one, other = joined(one), joined(other)
    assert (dumps(one) == dumps(other)) == (one == other)
    assert (dumps([one]) == dumps([other])) == (one == other)


@pytest.mark.parametrize(
    ("body_", "canonical"),
    [
        (b' {"b" : 1.50 , "a":[ 1e2,-0 ,0.0,1E+2] } ', '{"a":[1e2,-0,0.0,1E+2],"b":1.50}'),
        (b'"\\u00e9\\/\\n\\u007f"', '"\\u00e9/\\n\\u007f"'),
        ("\u00e9\U0001f600".join('""').encode(), '"\\u00e9\\ud83d\\ude00"'),
        (b'"\\uD83D\\uDE00 \\ud83d \\uDE00"', '"\\ud83d\\ude00 \\ud83d \\ude00"'),
        (b'{"B":1,"a":2,"A":3,"":4,"\\u00e9":5,"aa":6}', '{"":4,"A":3,"B":1,"a":2,"aa":6,"\\u00e9":5}'),
        (b"\xef\xbb\xbf[]", "[]"),
        (b"9" * 5000, "9" * 5000),
        (b"1e99999999999999999999", "1e99999999999999999999"),
    ],
)
def test_the_canonical_form_of(body_: bytes, canonical: str) -> None:
    assert dumps(loads(body_)) == canonical


def test_what_is_no_parsed_json_has_no_canonical_form() -> None:
    for thing in (1, 1.5, (1,), b"", object(), {"a": 1}, [1]):
        with pytest.raises(TypeError):
            dumps(thing)


# Reading strictly


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b'{"count": 1, "results": [',
        b"{} {}",
        b"{}x",
        b"[1,]",
        b'{"a": 1,}',
        b"{'a': 1}",
        b"// comment\n{}",
        b"<!doctype html>",
        b"NaN",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b"[0x10]",
        b"[1_000]",
        b"[\xd9\xa1]",
        b"[1e]",
        b"[True]",
        b'["a\nb"]',
        b'["a\x00b"]',
        b'["\\x41"]',
        b'["\\u12"]',
        b'"open',
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"results": [{"id": 1, "id": 2}]}',
        b'{"\\ud83d\\ude00": 1, "\xf0\x9f\x98\x80": 2}',
        b"\xff",
        b'["\xed\xa0\x80"]',
        b'["\xc0\x80"]',
        b'["\xe9"]',
        "[]".encode("utf-16"),
        "[]".encode("utf-32"),
        b"\xef\xbb\xbf\xef\xbb\xbf[]",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[1," * 64 + b"[[]]" + b"]" * 64,
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_what_parsers_read_differently_is_refused_in_words(text: bytes) -> None:
    with pytest.raises(StrictJSONError) as refusal:
        loads(text)
    assert 0 < len(str(refusal.value)) < 200
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_the_deepest_nesting_that_is_read(begin: bytes, end: bytes) -> None:
    levels = MAX_DEPTH // begin.replace(b'"a":', b"").__len__()
    assert levels * len(begin.replace(b'"a":', b"")) == 64
    innermost = b"1"
    loads(begin * levels + innermost + end * levels)
    with pytest.raises(StrictJSONError, match="64"):
        loads(begin * levels + b"[]" + end * levels)


@given(st.binary(max_size=30) | values.map(lambda v: spelled(v, 1)[:-1]))
def test_any_bytes_are_read_or_refused_in_words(text: bytes) -> None:
    try:
        value = loads(text)
    except StrictJSONError as refusal:
        value = f"refused: {refusal}"
        printable = value.isprintable()
    else:
        printable = True
    assert printable
    assert loads(dumps(value).encode()) == value


# Numbers


@pytest.mark.parametrize(
    ("literal", "integer"),
    [
        ("0", 0),
        ("3", 3),
        ("3.0", 3),
        ("3.000", 3),
        ("3e0", 3),
        ("3E0", 3),
        ("3e+0", 3),
        ("3e-0", 3),
        ("30e-1", 3),
        ("0.03e2", 3),
        ("0.3e+1", 3),
        ("300.00e-2", 3),
        ("-3", -3),
        ("-3.0", -3),
        ("-30e-1", -3),
        ("-0", 0),
        ("-0.0", 0),
        ("-0e5", 0),
        ("0e-5", 0),
        ("0.000e-99", 0),
        ("1e18", 10**18),
        ("1e19", None),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775807.0", 2**63 - 1),
        ("9.223372036854775807e18", 2**63 - 1),
        ("92233720368547758070e-1", 2**63 - 1),
        ("9223372036854775808", None),
        ("9.223372036854775808e18", None),
        ("-9223372036854775808", -(2**63)),
        ("-9.223372036854775808e+18", -(2**63)),
        ("-9223372036854775809", None),
        ("9007199254740993", 2**53 + 1),
        ("9007199254740993.0", 2**53 + 1),
        ("1.5", None),
        ("-0.5", None),
        ("15e-1", None),
        ("5e-1", None),
        ("-5e-1", None),
        ("5e-3", None),
        ("1e-400", None),
        ("1e400", None),
        ("-1e400", None),
        ("1e99999999999", None),
        ("1e-99999999999", None),
        ("2.9999999999999999999999", None),
        ("9" * 5000, None),
        ("-" + "9" * 5000, None),
        ("1." + "0" * 5000 + "1", None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_integer_that_a_number_is(literal: str, integer: int | None) -> None:
    number = loads(literal.encode())
    assert number == Number(literal)
    assert number.as_int() == integer


@given(literals | st.integers(-(2**64), 2**64).map(str))
@example("9223372036854775807")
def test_a_number_is_an_integer_exactly_where_arithmetic_says_so(literal: str) -> None:
    exact = Decimal(literal)
    fits = -(2**63) <= exact < 2**63 and exact == int(exact)
    assert Number(literal).as_int() == (int(exact) if fits else None)


def test_numbers_are_equal_by_their_text() -> None:
    assert Number("3") == Number("3")
    assert hash(Number("3")) == hash(Number("3"))
    assert Number("3") != Number("3.0")
    assert Number("3") != 3


# Documents


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def plain_text(value: Any) -> bytes:
    """The canonical text of plain values, by the standard library alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def redacted(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"keystone": record["keystone"] | {"password": "[redacted]"}}


REGIONS = [region(n, display_name=f"Région {n}") for n in (2, -1, 10, 9, 0)]


def test_the_address_is_a_hash_over_hashes_that_anyone_can_compute() -> None:
    document = document_of(body(answer(REGIONS, note="ü")))
    records = [plain_text(redacted(r)) for r in sorted(REGIONS, key=lambda r: r["id"])]
    envelope = plain_text({"count": 5, "note": "ü"})
    assert document.address == sha256(sha256(envelope) + b"".join(map(sha256, records))).hex()
    assert [record.text.encode() for record in document.records] == records


def test_the_address_of_a_certain_answer_never_changes() -> None:
    """If this fails, evidence that is stored already is no longer found: raise CANONICAL_VERSION."""
    raw = rb'{"results":[{"id":2,"a":"\u00e9"},{"id":1.0,"password":"x"},null],"count":3,"x":[1e2,"\ud800"]}'
    document = document_of(raw)
    assert document.canonical() == (
        rb'{"count":3,"results":[{"id":1.0,"password":"[redacted]"},{"a":"\u00e9","id":2},null],'
        rb'"x":[1e2,"\ud800"]}'
    )
    parts = [rb'{"count":3,"x":[1e2,"\ud800"]}', rb'{"id":1.0,"password":"[redacted]"}']
    parts += [rb'{"a":"\u00e9","id":2}', b"null"]
    assert document.address == sha256(b"".join(map(sha256, parts))).hex()
    assert document.address == "811474c73c50608b2d011c4e231c1ad93f7be403e00f96ea7c9ca9fc0cfa9964"


@given(listings, st.integers(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_document_does_not_depend_on_order_or_spelling_and_is_its_own_canonical_form(
    listing: dict[str, Any], seed: int, chance: random.Random
) -> None:
    listing = joined(listing)
    document = document_of(spelled(listing, seed))
    shuffled = listing | {"results": chance.sample(listing["results"], len(listing["results"]))}
    other = document_of(spelled(shuffled, seed + 1))
    assert (other.address, other.canonical()) == (document.address, document.canonical())
    for again in (document_of(document.canonical()), stored_document(document.canonical())):
        assert again == document
        assert again.canonical() == document.canonical()
    assert len(document.records) == len(listing["results"])


@given(listings, records, st.data())
@settings(deadline=None)
def test_every_change_of_a_record_or_of_the_envelope_changes_the_address(
    listing: dict[str, Any], other: Any, data: st.DataObject
) -> None:
    listing, other = joined(listing), joined(other)
    before = document_of(spelled(listing, 1))
    results = list(listing["results"])
    where = data.draw(st.integers(0, len(results)))
    for changed in (
        listing | {"results": [*results[:where], other, *results[where + 1 :]]},
        listing | {"results": [*results, other]},
        listing | {"results": results[:-1]},
        listing | {"another": other},
    ):
        after = document_of(spelled(changed, 1))
        assert (after.address == before.address) == (after.canonical() == before.canonical())


@given(st.integers(1, 4), st.data())
def test_a_record_can_not_be_moved_into_another_or_into_the_envelope(count: int, data: st.DataObject) -> None:
    """The address is over fixed-width hashes: no two answers share one by where they are cut."""
    regions = [{"id": n} for n in range(count)]
    one = document_of(body({"results": regions, "count": count}))
    cut = data.draw(st.integers(0, count - 1))
    other = document_of(body({"results": [*regions[:cut], regions[cut:]], "count": count}))
    assert one.address != other.address


def test_records_are_sorted_by_their_number_and_those_without_an_id_come_last() -> None:
    ids = ["x", 10, None, 9, 2.0, True, -1, MISSING, 2**70]
    documents = [
        answer([{"id": i} if i is not MISSING else {} for i in chosen]) for chosen in (ids, ids[::-1])
    ]
    for document in documents:
        texts_ = [r.text for r in document_of(body(document)).records]
        assert texts_[:4] == ['{"id":-1}', '{"id":2.0}', '{"id":9}', '{"id":10}']
        assert texts_[4:] == sorted(texts_[4:])


@pytest.mark.parametrize(
    "said",
    [[], None, 1, "x", True, {}, {"result": []}, {"results": None}, {"results": {}}, {"results": "[]"}],
    ids=str,
)
def test_what_is_no_listing_is_refused_in_words(said: Any) -> None:
    with pytest.raises(NotAListingError) as refusal:
        document_of(body(said))
    assert "not an object" in str(refusal.value) or "`results`" in str(refusal.value)


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b'""'])
def test_an_answer_of_more_values_than_any_listing_has_is_refused_before_it_is_read(value: bytes) -> None:
    def answer_of(count: int) -> bytes:
        return b'{"count":0,"results":[],"x":[' + b",".join([value] * count) + b"]}"

    own = 5  # commas and brackets around
    each = 2 if value in (b"[]", b"{}") else 1
    limits = Limits(values=50_000)
    fits = (limits.values - own + 1) // each
    assert document_of(answer_of(fits), (), limits).records == ()
    with pytest.raises(NotAListingError, match="more than 50,000 values"):
        document_of(answer_of(fits + 1), (), limits)
    with pytest.raises(NotAListingError, match="more than 50,000 values"):
        document_of(answer_of(fits + 1)[:-3], (), limits)  # whether or not it is JSON


def test_the_refused_answer_is_kept_without_its_secrets() -> None:
    with pytest.raises(NotAListingError) as refusal:
        document_of(body({"message": "no", "token": "canary"}))
    assert refusal.value.document == {"message": "no", "token": "[redacted]"}


# Memory


def fresh(document: Document) -> Any:
    _remembered.cache_clear()
    for record in document.records:
        record.meaning = None
    return listing_of(document)


def test_what_is_remembered_of_records_never_shows() -> None:
    """Answers that differ in one thing, in many orders: each reads as if it were the first."""
    variants = [
        answer(REGIONS),
        answer([region(2, has_ai=1), *REGIONS[1:]]),
        answer([region(2, has_ai=False), *REGIONS[1:]]),
        answer([region(2, keystone=keystone(1002, id="1002")), *REGIONS[1:]]),
        answer([region(2, keystone_id=1009), *REGIONS[1:]]),
        answer([region("2", keystone_id=1002), *REGIONS[1:]]),
        answer([region(2.0, keystone_id=1002), *REGIONS[1:]]),
        answer([region(2, id=True), region(2, id=1)]),
        answer([{}, [], None, 0, False, ""]),
        answer([]),
    ]
    documents = [document_of(body(said)) for said in variants]
    alone = [fresh(document) for document in documents]
    drift = [listing.drift for listing in alone]
    _remembered.cache_clear()
    for _ in range(4):
        for i in random.Random(3).sample(range(len(documents)), len(documents)):
            listing = listing_of(documents[i])
            assert listing == alone[i]
            assert listing.drift == drift[i]
            assert [repr(e) for e in listing.shown.values()] == [repr(e) for e in alone[i].shown.values()]


@given(listings)
@settings(deadline=None)
def test_reading_any_listing_twice_gives_the_same(listing: dict[str, Any]) -> None:
    document = document_of(spelled(joined(listing), 5))
    first = fresh(document)
    second = listing_of(document)
    assert (first, first.drift) == (second, second.drift)
    assert first == listing_of(stored_document(document.canonical()))
    assume(listing["results"])
    assert first.listed == len(listing["results"])
