"""Answers made from the OpenAPI file itself, not from our models: what the schema allows, and nothing else.

`documents()` is a Hypothesis strategy of parsed answers; `example()` is one answer's record in which every
documented property is given; `fields_of()` is what the file says of one object.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import yaml
from hypothesis import strategies as st

from tests.support.paths import DATA

Json = dict[str, Any]
Kind = Literal["text", "time", "secret", "integer", "flag", "list", "object"]

FILE = DATA / "ai-regions.openapi.yaml"
COLLECTION = "RegionSerializerAiCollectionSerializer"
REGION = "RegionSerializerAi"


@cache
def openapi() -> Json:
    loaded: Json = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def schemas() -> Json:
    """The components of the file, by name."""
    found: Json = openapi()["components"]["schemas"]
    return found


@dataclass(frozen=True, slots=True)
class Field:
    """What the file says of one property, or of the elements of a list."""

    name: str
    kind: Kind
    required: bool = True
    nullable: bool = False
    values: tuple[str, ...] = ()
    """The values of an enum."""
    pattern: str | None = None
    max_length: int | None = None
    minimum: int | None = None
    element: Field | None = None
    """The elements of a list."""
    schema: str | None = None
    """The component name of an object."""
    examples: tuple[Any, ...] = ()


@cache
def fields_of(schema: str) -> dict[str, Field]:
    node = schemas()[schema]
    return {
        name: _field(name, given, required=name in node.get("required", ()))
        for name, given in node["properties"].items()
    }


def _field(name: str, node: Json, *, required: bool = True) -> Field:
    choices = node.get("anyOf", [node])
    (plain,) = (choice for choice in choices if choice.get("type") != "null")
    schema = None
    if "$ref" in plain:
        schema = plain["$ref"].removeprefix("#/components/schemas/")
        plain = schemas()[schema]
    kind = _KINDS[plain["type"], plain.get("format")]
    return Field(
        name=name,
        kind=kind,
        required=required,
        nullable=len(choices) > 1,
        values=tuple(plain.get("enum", ())),
        pattern=plain.get("pattern"),
        max_length=plain.get("maxLength"),
        minimum=plain.get("minimum"),
        element=_field(f"{name}[]", plain["items"]) if kind == "list" else None,
        schema=schema if kind == "object" else None,
        examples=tuple(node.get("examples", ())),
    )


_KINDS: dict[tuple[str, str | None], Kind] = {
    ("string", None): "text",
    ("string", "date-time"): "time",
    ("string", "password"): "secret",
    ("integer", None): "integer",
    ("boolean", None): "flag",
    ("array", None): "list",
    ("object", None): "object",
}


# One example


def example(schema: str = REGION) -> Json:
    """An object in which every documented property is given, and none is null."""
    return {name: _example(field) for name, field in fields_of(schema).items()}


def _example(field: Field) -> Any:
    given = [value for value in field.examples if value is not None]
    if field.schema:
        return example(field.schema)
    if given:
        return given[0]
    return field.values[0] if field.values else {"text": "some text", "integer": 1, "flag": True}[field.kind]


# All of them


def _is_plain(text: str) -> bool:
    """Nothing that redaction would take for a secret within a URL."""
    return not ("//" in text and "@" in text) and not ("=" in text and re.search(r"[?&;#]", text))


_characters = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])
"""No control characters and no lone surrogates: those are illegal, and tested by themselves."""
_texts = st.text(_characters, max_size=12).filter(_is_plain)

integers = st.one_of(
    st.integers(0, 4),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]),
    st.integers(-1000, 1000).map(float),  # 3.0 is an integer
)
_beyond = st.sampled_from([2**63, -(2**63) - 1, 10**30])
"""Legal too, but no column holds it."""

_ZONES = ["", "", "Z", "z", "+00:00", "-00:00", "+0000", "+05:30", "-0800", "+23:59", "-23:59"]
_fractions = st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=9).map(".{}".format))


@st.composite
def times(draw: st.DrawFn) -> str:
    """A time as RFC 3339 spells it, or as the API does: naive, with a space, an offset without a colon."""
    far = draw(st.integers(0, 19)) == 0
    year = draw(st.sampled_from([0, 1, 1582, 9999]) if far else st.integers(1990, 2040))
    month, day = draw(st.integers(1, 12)), draw(st.integers(1, 28))
    clock = f"{draw(st.integers(0, 23)):02}:{draw(st.integers(0, 59)):02}:{draw(st.integers(0, 59)):02}"
    if draw(st.integers(0, 29)) == 0:
        clock = "23:59:60"  # a leap second
    separator, zone = draw(st.sampled_from("Tt ")), draw(st.sampled_from(_ZONES))
    return f"{year:04}-{month:02}-{day:02}{separator}{clock}{draw(_fractions)}{zone}"


_leaves = st.one_of(st.none(), st.booleans(), st.integers(), _texts, st.floats(allow_nan=False, width=32))
_anything = st.recursive(
    _leaves.filter(lambda leaf: leaf not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2),
    max_leaves=4,
)
_unknown_names = st.sampled_from(["has_quantum", "ai_service_endpoint_id", "tags", "api_token", ""]) | _texts


def values(field: Field) -> st.SearchStrategy[Any]:
    """Every value that the file allows for a property."""
    allowed = _not_null(field)
    return st.none() | allowed if field.nullable else allowed


def _not_null(field: Field) -> st.SearchStrategy[Any]:
    if field.values:
        return st.sampled_from(field.values)
    if field.kind == "flag":
        return st.booleans()
    if field.kind == "integer":
        numbers = integers if field.minimum is not None else st.one_of(integers, integers, integers, _beyond)
        return numbers.filter(lambda n: field.minimum is None or n >= field.minimum)
    if field.kind == "time":
        return times()
    if field.kind == "list":
        assert field.element is not None
        return st.lists(values(field.element), max_size=4)
    if field.kind == "object":
        assert field.schema is not None
        return objects(field.schema)
    if field.kind == "secret":
        return st.sampled_from(["******", "", "canary-password"]) | _texts
    if field.pattern:
        return st.from_regex(field.pattern, fullmatch=True).filter(lambda text: "\n" not in text)
    limit = field.max_length or 10**9
    samples = [text for text in field.examples if text is not None and _is_plain(text)]
    texts = _texts | st.text(_characters, min_size=30, max_size=60).filter(_is_plain)
    return (texts | st.sampled_from(samples) if samples else texts).filter(lambda text: len(text) <= limit)


@cache
def objects(schema: str) -> st.SearchStrategy[Json]:
    """Objects of a component: optional properties given or not, unknown ones beside them."""
    fields = fields_of(schema)
    # What is only written need not be in an answer, required or not.
    must = {n: values(f) for n, f in fields.items() if f.required and f.kind != "secret"}
    may = {n: values(f) for n, f in fields.items() if n not in must}
    documented = st.fixed_dictionaries(must, optional=may)
    others = st.dictionaries(_unknown_names.filter(lambda name: name not in fields), _anything, max_size=2)
    return st.builds(lambda known, unknown: known | unknown, documented, st.just({}) | others)


@st.composite
def documents(draw: st.DrawFn, max_regions: int = 3) -> Json:
    """Whole answers: `count` is right, and no region id stands twice or is beyond 64 bits."""
    document = draw(_envelopes())
    ids = draw(st.lists(integers, max_size=max_regions, unique_by=int))
    document["results"] = [draw(objects(REGION)) | {"id": region_id} for region_id in ids]
    document["count"] = draw(st.sampled_from([len(ids), float(len(ids))]))
    return document


def _envelopes() -> st.SearchStrategy[Json]:
    unknown = _unknown_names.filter(lambda name: name not in fields_of(COLLECTION))
    return st.dictionaries(unknown, _anything, max_size=1)


def bodies(document: Json) -> st.SearchStrategy[bytes]:
    """The same answer in several spellings."""
    return st.builds(
        lambda ascii_only, indent: json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(),
        st.booleans(),
        st.sampled_from([None, 1]),
    )
