"""Our models say what the OpenAPI file says; what the file allows is stored; what it forbids costs little.

`expected` is a second opinion on what an answer means: written from the design, not from the parser.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from collector.database.engine import open_engine
from collector.gcore import wire
from collector.gcore.document import document_of
from collector.gcore.listing import listing_of
from collector.gcore.redaction import is_secret_name
from collector.gcore.wire import MAX_NAME
from tests.support.databases import new_database
from tests.support.history import History
from tests.support.openapi_documents import (
    REGION,
    Field,
    Json,
    bodies,
    documents,
    example,
    fields_of,
    schemas,
)

# The models and the file

LENIENT = {"additionalProperties", "maxLength", "minimum", "pattern"}
"""Documented limits that the models leave out: what breaks them is kept as it came."""
PROSE = {"description", "examples", "title"}
SETS = {"enum", "required"}


def models() -> dict[str, type[BaseModel]]:
    found = {n: m for n, m in vars(wire).items() if isinstance(m, type) and issubclass(m, BaseModel)}
    return {name: model for name, model in found.items() if model is not BaseModel}


def comparable(node: Any, components: Json) -> Any:
    """A schema without prose and limits; enums in place of references to them."""
    if isinstance(node, list):
        return [comparable(item, components) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        target = components[name]
        rest = {key: value for key, value in node.items() if key != "$ref"}
        own = comparable(target, components) if "enum" in target else {"object": name}
        return own | comparable(rest, components)
    result = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: comparable(given, components) for name, given in value.items()}
        elif key in SETS:
            result[key] = frozenset(value)
            assert len(result[key]) == len(value)
        elif key == "anyOf":
            choices = [comparable(choice, components) for choice in value]
            result[key] = sorted(choices, key=str)
        elif key not in PROSE | LENIENT:
            result[key] = comparable(value, components)
    return result


def of_file(components: Json) -> Json:
    return {n: comparable(node, components) for n, node in components.items() if "properties" in node}


def of_models() -> Json:
    result = {}
    for name, model in models().items():
        schema = model.model_json_schema()
        components = schema.pop("$defs", {})
        result[name] = comparable(schema, components)
    return result


def test_every_object_of_the_file_is_a_model_and_says_the_same() -> None:
    ours, theirs = of_models(), of_file(schemas())
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name] == theirs[name], name


def test_every_enum_of_the_file_is_a_literal_of_the_same_name() -> None:
    enums = {name: node["enum"] for name, node in schemas().items() if "enum" in node}
    assert len(enums) == 6
    assert {name: sorted(get_args(getattr(wire, name))) for name in enums} == {
        name: sorted(values) for name, values in enums.items()
    }
    literals = {n for n, v in vars(wire).items() if getattr(v, "__origin__", None) is wire.Literal}
    assert literals == enums.keys()


def changed_files() -> Iterator[tuple[str, Json]]:
    """The file with one thing changed, for every thing."""
    for name, node in schemas().items():
        if "enum" in node:
            for value in node["enum"]:
                yield f"{name} loses {value}", _with(name, "enum", [v for v in node["enum"] if v != value])
            yield f"{name} gains a value", _with(name, "enum", [*node["enum"], "SOMETHING_NEW"])
            continue
        properties, required = node["properties"], node.get("required", [])
        yield f"{name} gains a property", _with(name, "properties", properties | {"new": {"type": "string"}})
        for prop, given_node in properties.items():
            rest = {n: v for n, v in properties.items() if n != prop}
            yield f"{name} loses {prop}", _with(name, "properties", rest)
            other = [r for r in required if r != prop] if prop in required else [*required, prop]
            yield f"{name}.{prop} is required or not", _with(name, "required", other)
            for what, replaced in _variants(given_node):
                yield f"{name}.{prop} {what}", _with(name, "properties", rest | {prop: replaced})


def _variants(node: Json) -> Iterator[tuple[str, Json]]:
    if "anyOf" in node:
        (plain,) = (choice for choice in node["anyOf"] if choice.get("type") != "null")
        yield "is not null", {k: v for k, v in node.items() if k not in ("anyOf", "default")} | plain
    else:
        yield "may be null", {"anyOf": [node, {"type": "null"}]}
        plain = node
    yield (
        "is deprecated or not",
        {k: v for k, v in node.items() if k != "deprecated"}
        | ({} if node.get("deprecated") else {"deprecated": True}),
    )
    if "$ref" not in plain:
        other = "string" if plain["type"] != "string" else "integer"
        yield "has another type", {"type": other}
    if "format" in plain:
        bare = {k: v for k, v in plain.items() if k != "format"}
        yield "has no format", {"anyOf": [bare, {"type": "null"}]} if "anyOf" in node else bare
    if plain.get("writeOnly"):
        bare = {k: v for k, v in plain.items() if k != "writeOnly"}
        yield "is not only written", {"anyOf": [bare, {"type": "null"}]} if "anyOf" in node else bare


def _with(name: str, key: str, value: Any) -> Json:
    components = copy.copy(schemas())
    components[name] = components[name] | {key: value}
    return components


def test_whatever_changes_in_the_file_is_noticed() -> None:
    ours = of_models()
    changes = dict(changed_files())
    assert len(changes) > 250
    unnoticed = [what for what, components in changes.items() if of_file(components) == ours]
    assert unnoticed == []


def test_no_documented_name_but_the_passwords_is_taken_for_a_secret() -> None:
    """Else redaction would destroy a documented value before it is read."""
    names = {(f.name, f.kind) for schema in models() for f in fields_of(schema).values()}
    assert {name for name, _ in names if is_secret_name(name)} == {n for n, k in names if k == "secret"}


# What an answer means: a second opinion

MISSING = object()
NOTHING = object()
Drifts = set[tuple[str, str, str]]


@dataclass
class Meaning:
    """The expected rows of the tables after one answer to a new source."""

    regions: dict[int, Json] = field(default_factory=dict)
    keystones: dict[int, Json] = field(default_factory=dict)
    metrics_databases: dict[int, Json] = field(default_factory=dict)
    volume_types: set[tuple[int, str]] = field(default_factory=set)
    rejected: list[tuple[int | None, str]] = field(default_factory=list)
    drift: Drifts = field(default_factory=set)
    """Without unknown fields and differing copies."""


def json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "number")


def whole_number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not -(2**63) <= value < 2**63 or value != int(value):
        return None
    return int(value)


def storable_text(value: str) -> bool:
    return "\0" not in value and not re.search("[\ud800-\udfff]", value)


def instant(text: str) -> datetime | None:
    """By arithmetic on the digits; naive times are UTC, digits beyond microseconds are cut off."""
    found = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))?", text
    )
    if found is None or not text.isascii():
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    micro = int(f"{found[7] or 0:0<6}"[:6])
    offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0))
    if second > 60 or offset >= timedelta(days=1) or int(found[10] or 0) > 59:
        return None
    try:
        local = datetime(year, month, day, hour, minute, 0, micro, UTC) + timedelta(seconds=second)
        return local + offset if found[8] == "-" else local - offset
    except (ValueError, OverflowError):
        return None


def value_of(what: Field, raw: Any, path: str, drift: Drifts) -> Any:
    """What one property costs or gives. Objects and passwords: NOTHING."""
    if raw is MISSING:
        if what.required and what.kind != "secret":  # api.md: write-only, so it may be absent
            drift.add((path, "missing_field", ""))
        return None
    if raw is None:
        if not what.nullable:
            drift.add((path, "wrong_type", "null"))
        return None
    right = {"integer": "number", "flag": "boolean", "list": "array", "object": "object"}
    if what.kind == "secret":  # replaced before anything looks at it
        return None
    if json_type(raw) != right.get(what.kind, "string"):
        drift.add((path, "wrong_type", json_type(raw)))
        return None
    if what.kind == "list":
        assert what.element is not None
        each = [value_of(what.element, item, f"{path}[]", drift) for item in raw]
        kept = {item for item in each if item is not None}
        too_long = {item for item in kept if isinstance(item, str) and len(item) > MAX_NAME}
        if too_long:  # such a name can't be the key of a row on PostgreSQL
            drift.add((f"{path}[]", "unusable_value", "string"))
            kept -= too_long
        return tuple(sorted(kept)) if kept or not raw else None
    if what.kind == "object":
        return None
    value: Any = raw
    if what.kind == "integer":
        value = whole_number(raw)
    elif what.kind == "time":
        value = instant(raw)
    elif what.kind == "text" and not storable_text(raw):
        value = None
    if value is None:
        drift.add((path, "unusable_value", json_type(raw)))
    elif what.values and value not in what.values:
        drift.add((path, "unknown_value", value[:200]))
    return value


def columns_of(schema: str, raw: Json, path: str, drift: Drifts) -> Json:
    return {
        name: value_of(what, raw.get(name, MISSING), f"{path}.{name}", drift)
        for name, what in fields_of(schema).items()
    }


def expected(document: Json) -> Meaning:
    meaning = Meaning()
    copies: dict[str, list[tuple[int, int, Json]]] = {"keystone": [], "metrics_database": []}
    for raw in document["results"]:
        drift = meaning.drift
        columns = columns_of(REGION, raw, "results[]", drift)
        region_id, state = columns.pop("id"), columns["state"]
        for name in ("keystone", "metrics_database", "ddos_endpoint"):
            del columns[name]
        ddos = raw.get("ddos_endpoint")
        is_given = isinstance(ddos, dict)
        found = columns_of(
            "ServiceEndpointSerializer", ddos if is_given else {}, "", drift if False else set()
        )
        if is_given:
            columns_of("ServiceEndpointSerializer", ddos, "results[].ddos_endpoint", drift)
        columns |= {f"ddos_{name}": value for name, value in found.items()}
        for kind, schema in (
            ("keystone", "KeystoneSerializerAi"),
            ("metrics_database", "MetricsDatabaseSerializer"),
        ):
            given_object = raw.get(kind)
            if not isinstance(given_object, dict):
                continue
            own = columns_of(schema, given_object, f"results[].{kind}", drift)
            del own["password"]
            own["own_id"] = own.pop("id")
            own["has_password"] = given_object["password"] is not None if "password" in given_object else None
            if raw.get(f"{kind}_id") is None:
                columns[f"{kind}_id"] = own["own_id"]
            reference = columns[f"{kind}_id"]
            if reference is not None and own.get("state", "any") not in (None, ""):
                copies[kind].append((region_id, reference, own))
        if region_id is None:
            meaning.rejected.append((None, "no_usable_id"))
        elif not state:
            meaning.rejected.append((region_id, "no_usable_state"))
        else:
            meaning.regions[region_id] = columns
            meaning.volume_types |= {(region_id, t) for t in columns["available_volume_types"] or ()}
    for kind, table in (("keystone", meaning.keystones), ("metrics_database", meaning.metrics_databases)):
        usable = [c for c in copies[kind] if c[0] in meaning.regions]
        for region_id, reference, own in sorted(usable, key=lambda c: c[0]):
            table.setdefault(reference, own | {"witness_region_id": region_id})
    return meaning


def found_in(history: History) -> Meaning:
    """The same, from the tables. Also checks that versions say what current rows say."""
    source = {"source_id": history.writer.lease.source_id}

    def typed(table: str, key: str) -> dict[int, Json]:
        rows = history.rows(table, **source)
        return {row[key]: row for row in rows}

    meaning = Meaning(
        regions=typed("regions", "id"),
        keystones=typed("keystones", "id"),
        metrics_databases=typed("metrics_databases", "id"),
        volume_types={
            (r["region_id"], r["volume_type"]) for r in history.rows("region_volume_types", **source)
        },
        rejected=[(r["region_id"], r["reason"]) for r in history.rows("rejected_records", **source)],
        drift={(r["path"], r["kind"], r["detail"]) for r in history.rows("schema_drift", **source)},
    )
    for kind in ("region", "keystone", "metrics_database"):
        current = getattr(meaning, f"{kind}s")
        versions = typed(f"{kind}_versions", f"{kind}_id")
        assert versions.keys() == current.keys()
        for entity_id, row in versions.items():
            same = row.keys() & current[entity_id].keys() - {"seq", "source_id", "id"}
            assert {n: row[n] for n in same} == {n: current[entity_id][n] for n in same}
    return meaning


DOCUMENTED_DRIFT = {"missing_field", "wrong_type", "unusable_value", "unknown_value"}


def differences(history: History, meant: Meaning) -> list[str]:
    """Everything in which the tables differ from the second opinion, in words."""
    found, problems = found_in(history), []
    for table in ("regions", "keystones", "metrics_databases"):
        rows, wanted = getattr(found, table), getattr(meant, table)
        if rows.keys() != wanted.keys():
            problems.append(f"{table}: {sorted(rows)} instead of {sorted(wanted)}")
        for key in rows.keys() & wanted.keys():
            problems += [
                f"{table} {key}: {name} is {rows[key][name]!r:.80} instead of {value!r:.80}"
                for name, value in wanted[key].items()
                if rows[key][name] != value
            ]
    if found.volume_types != meant.volume_types:
        problems.append(f"volume types: {found.volume_types ^ meant.volume_types}"[:300])
    if sorted(found.rejected, key=str) != sorted(meant.rejected, key=str):
        problems.append(f"rejected: {found.rejected} instead of {meant.rejected}"[:300])
    known = {d for d in found.drift if d[1] in DOCUMENTED_DRIFT}
    if known != meant.drift:
        problems.append(f"drift: surplus {known - meant.drift}, missing {meant.drift - known}"[:600])
    return problems


# A database for all of this file: each answer goes to a source of its own

_numbers = itertools.count(1)


def new_history(engine: sa.Engine) -> History:
    return History(engine, name=f"source-{next(_numbers)}")


# What the file allows


@pytest.mark.long
def test_every_document_that_the_file_allows_is_stored_whole(shared_engine: sa.Engine) -> None:
    @given(st.data())
    @settings(
        max_examples=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    def holds(data: st.DataObject) -> None:
        document = data.draw(documents())
        history = new_history(shared_engine)
        result = history.poll(data.draw(bodies(document)))
        assert result.failure is None
        assert result.outcome == ("ok" if document["results"] else "held")
        meant = expected(document)
        assert meant.rejected == []
        assert differences(history, meant) == []
        observation = history.row("observations", source_id=history.writer.lease.source_id)
        assert (observation["declared"], observation["listed"]) == (document["count"], document["count"])
        rebuilt = history.rebuilt()
        assert rebuilt.different == 0, rebuilt.examples

    holds()


def test_a_region_with_every_documented_property_fills_every_column(shared_engine: sa.Engine) -> None:
    history = new_history(shared_engine)
    document = {"count": 1, "results": [base_region(1)]}
    assert history.poll(document).outcome == "ok"
    assert differences(history, expected(document)) == []
    source_id = history.writer.lease.source_id
    for table in ("regions", "keystones", "metrics_databases"):
        row = history.row(table, source_id=source_id)
        assert [name for name, value in row.items() if value is None] == [
            "absent_since",
            "absent_not_before",
        ]
    assert history.rows("schema_drift", source_id=source_id) == []


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("created_on", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_the_first_and_the_last_time_are_stored_whatever_the_databases_time_zone(
    postgresql_template: sa.URL, zone: str, created_on: str
) -> None:
    """In another zone than UTC these are times before the year 1, or after 9999."""
    url = new_database(postgresql_template, postgresql_template.database)
    for_all_sessions = url.update_query_dict({"options": f"-c timezone={zone}"})
    engine = open_engine(for_all_sessions)
    try:
        history = new_history(engine)
        for state in ("NEW", "ACTIVE"):
            document = {"count": 1, "results": [base_region(1) | {"created_on": created_on, "state": state}]}
            history.poll(document)
            assert differences(history, expected(document)) == []
    finally:
        engine.dispose()


def test_a_legacy_spelling_of_the_password_counts(shared_engine: sa.Engine) -> None:
    for given_password, has_password in (("secret", True), ("", True), (None, False)):
        region = base_region(1)
        del region["keystone"]["password"]
        region["keystone"]["admin_password"] = given_password
        history = new_history(shared_engine)
        history.poll([region])
        row = history.row("keystones", source_id=history.writer.lease.source_id)
        assert row["has_password"] is has_password


# What the file forbids


def base_region(number: int) -> Json:
    """Every documented property; ids that say which region and which place they belong to."""
    region = example() | {
        "id": number,
        "keystone_id": number + 10_000,
        "metrics_database_id": number + 30_000,
        "country": "LU",
    }
    region["keystone"] = region["keystone"] | {"id": number + 20_000}
    region["metrics_database"] = region["metrics_database"] | {"id": number + 40_000}
    return region


def paths() -> list[tuple[str, ...]]:
    """Every documented property within a record."""
    result: list[tuple[str, ...]] = []
    for name, what in fields_of(REGION).items():
        result.append((name,))
        result += [(name, inner) for inner in fields_of(what.schema)] if what.schema else []
    return result


LONG = "".join(random.Random(7).choices("bfghmqvxz0123456789", k=20_000))
"""No compression makes it short, and no part of it reads like the name of a secret."""

LITERALS: dict[str, str] = {
    "null": "null",
    "true": "true",
    "false": "false",
    "an integer": "7",
    "an integer with a fraction of zero": "70e-1",
    "minus zero": "-0",
    "a fraction": "1.5",
    "a number in a string": '"7"',
    "a flag in a string": '"true"',
    "an empty list": "[]",
    "a list": "[8]",
    "a list of lists": '[["standard"]]',
    "an object": '{"unknown": 1}',
    "an empty object": "{}",
    "an empty string": '""',
    "a blank": '" "',
    "a lower-case word": '"active"',
    "a very long string": json.dumps(LONG),
    "NUL": '"a\\u0000b"',
    "a lone high surrogate": '"a\\ud800"',
    "a lone low surrogate": '"\\udfffb"',
    "a pair of surrogates the wrong way round": '"\\udc00\\ud800"',
    "an emoji as a pair of surrogates": '"\\ud83d\\ude00"',
    "control characters": '"\\u0001\\u001b[31m\\u007f\\u0085"',
    "the largest of 64 bits": str(2**63 - 1),
    "one beyond 64 bits": str(2**63),
    "the least of 64 bits": str(-(2**63)),
    "one below 64 bits": str(-(2**63) - 1),
    "beyond a double": "1e400",
    "below a double": "-1e400",
    "a small fraction": "1e-400",
    "five thousand digits": "9" * 5000,
    "a huge exponent": "1e99999999",
    "an impossible date": '"2023-02-30T00:00:00"',
    "an impossible hour": '"2023-02-03T24:00:00Z"',
    "an impossible offset": '"2023-02-03T00:00:00+24:00"',
    "the year 0": '"0000-01-01T00:00:00Z"',
    "before the year 1 in UTC": '"0001-01-01T00:00:00+00:01"',
    "after the year 9999 in UTC": '"9999-12-31T23:59:59-00:01"',
    "a date alone": '"2023-02-03"',
    "a time in other digits": '"２０２３-02-03T00:00:00"',
}
IN_LISTS = {f"{name}, beside something good": literal for name, literal in LITERALS.items()}


def mutants(path: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """What may stand at a place, as JSON text; None: the key is missing."""
    what = field_at(path)
    found: list[tuple[str, str | None]] = [("missing", None), *LITERALS.items()]
    if what.element:
        good = "1" if what.element.kind == "integer" else '"standard"'
        found += [(name, f"[{literal}, {good}]") for name, literal in IN_LISTS.items()]
        found.append(("repeats in disorder", f"[{good}, {good}, {good}]"))
    return found


def field_at(path: tuple[str, ...]) -> Field:
    what = fields_of(REGION)[path[0]]
    return fields_of(what.schema)[path[1]] if what.schema and len(path) > 1 else what


def with_mutant(region: Json, path: tuple[str, ...], literal: str | None) -> str:
    """The region as JSON text with that text in that place."""
    region = copy.deepcopy(region)
    holder = region[path[0]] if len(path) > 1 else region
    if literal is None:
        del holder[path[-1]]
        return json.dumps(region)
    holder[path[-1]] = "@here@"
    return json.dumps(region).replace('"@here@"', literal)


def body_of(records: list[str]) -> bytes:
    return f'{{"count": {len(records)}, "results": [{", ".join(records)}]}}'.encode()


def parsed(body: bytes) -> Json:
    """As the second opinion reads it: numbers exact."""
    document: Json = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return document


@pytest.mark.long
@pytest.mark.parametrize("path", paths(), ids=".".join)
def test_whatever_stands_in_one_place_costs_that_value_or_that_record(path: tuple[str, ...]) -> None:
    """Without a database: each mutant beside an untouched region."""
    for name, literal in mutants(path):
        untouched = json.dumps(base_region(500))
        record = with_mutant(base_region(600), path, literal)
        body = body_of([record, untouched])
        meant = expected(parsed(body))
        listing = listing_of(document_of(body))
        shown = {kind: {i: s.entity for i, s in s_.sightings.items()} for kind, s_ in listing.shown.items()}
        assert {r.reason for r in listing.rejected} == {reason for _, reason in meant.rejected}, name
        assert shown["region"].keys() == meant.regions.keys(), name
        drift = {(d.path, d.kind, d.detail) for d in listing.drift if d.kind != "unknown_field"}
        assert drift == meant.drift, name
        before = listing_of(document_of(body_of([json.dumps(base_region(600)), untouched])))
        for kind in ("region", "keystone", "metrics_database"):
            old = {i: s.entity for i, s in before.shown[kind].sightings.items()}
            lost = old.keys() - shown[kind].keys()
            assert len(lost) <= 1, (name, kind, lost)
            for entity_id in old.keys() & shown[kind].keys():
                ours, theirs = shown[kind][entity_id], old[entity_id]
                costs = {n for n in type(ours).__struct_fields__ if getattr(ours, n) != getattr(theirs, n)}
                is_object = field_at(path).kind == "object"  # all that it holds is one value
                assert len(costs) <= 1 or (is_object and (kind == path[0] or "ddos_id" in costs)), (
                    name,
                    costs,
                )
        assert listing.shown["region"].sightings[500] == before.shown["region"].sightings[500]


def places() -> dict[str, list[tuple[str, ...]]]:
    """The paths by what stands there."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for path in paths():
        what = field_at(path)
        name = "id" if path == ("id",) else "enum" if what.values else what.kind
        found.setdefault(name, []).append(path)
    return found


@pytest.mark.long
@pytest.mark.parametrize("place", places())
def test_whatever_stands_in_one_place_can_be_stored(shared_engine: sa.Engine, place: str) -> None:
    """All mutants of such places in one answer, each in a region of its own."""
    one_each = [(path, literal) for path in places()[place] for _, literal in mutants(path)]
    if place == "id":  # a value that is also an id of another region would cost both
        one_each = [(("id",), literal) for literal in unique_ids()]
    body = body_of([with_mutant(base_region(500 + n), *mutant) for n, mutant in enumerate(one_each)])
    history = new_history(shared_engine)
    result = history.poll(body)
    assert (result.failure, result.outcome) == (None, "ok")
    assert differences(history, expected(parsed(body))) == []
    rebuilt = history.rebuilt()
    assert rebuilt.different == 0, rebuilt.examples


def holder_of(record: Json, path: tuple[str, ...]) -> Json:
    """The object in which a path's last name stands."""
    found: Json = record[path[0]] if len(path) > 1 else record
    return found


def differing_region(number: int) -> Json:
    """Legal, and in every value unlike `base_region`."""
    region = base_region(number)
    for path in paths():
        holder, what, name = holder_of(region, path), field_at(path), path[-1]
        value = holder[name]
        if what.values:
            holder[name] = next(v for v in what.values if v != value)
        elif what.kind == "flag":
            holder[name] = not value
        elif what.kind == "list":
            holder[name] = [*value, value[0] * 2 if isinstance(value[0], str) else value[0] + 1]
        elif what.kind == "time":
            holder[name] = "2001-02-03T04:05:06Z"
        elif what.kind == "integer" and value == holder_of(base_region(0), path)[name]:
            holder[name] = value + 1
        elif what.kind in ("text", "secret") and name != "country":
            holder[name] = value + "x"
    return region | {"country": "DE"}


@pytest.mark.long
def test_two_fields_of_one_record_that_are_swapped_cost_what_does_not_fit(shared_engine: sa.Engine) -> None:
    """Every pair of places but those of which one holds the other; a record for each pair."""
    pairs = [(one, other) for one, other in itertools.combinations(paths(), 2) if other[: len(one)] != one]
    assert len(pairs) > 1000
    answers: list[tuple[set[int | None], list[str]]] = []
    for number, (one, other) in enumerate(pairs, 500):
        record = base_region(number)
        a, b = holder_of(record, one), holder_of(record, other)
        a[one[-1]], b[other[-1]] = b[other[-1]], a[one[-1]]
        ids = {whole_number(record["id"])} - {None}
        fitting = next((a for a in answers if not a[0] & ids), None)
        if fitting is None:  # an id that stands twice would cost both records
            answers.append(fitting := (set(), []))
        fitting[0].update(ids)
        fitting[1].append(json.dumps(record))
    for _, records in answers:
        history = new_history(shared_engine)
        body = body_of(records)
        result = history.poll(body)
        assert (result.failure, result.outcome) == (None, "ok")
        assert differences(history, expected(parsed(body))) == []
        history.verify()


def test_one_field_of_two_records_that_is_swapped_is_where_it_stands(shared_engine: sa.Engine) -> None:
    """For every place; two records each."""
    records = []
    for number, path in enumerate(paths()):
        pair = base_region(500 + 2 * number), differing_region(501 + 2 * number)
        one, other = (holder_of(record, path) for record in pair)
        assert one[path[-1]] != other[path[-1]], path
        one[path[-1]], other[path[-1]] = other[path[-1]], one[path[-1]]
        records += [json.dumps(record) for record in pair]
    history = new_history(shared_engine)
    body = body_of(records)
    result = history.poll(body)
    assert (result.failure, result.outcome) == (None, "ok")
    assert differences(history, expected(parsed(body))) == []
    assert {
        row["kind"] for row in history.rows("schema_drift", source_id=history.writer.lease.source_id)
    } == set()
    history.verify()


def unique_ids() -> list[str | None]:
    """Literals for an id, each number once."""
    by_value: dict[Any, str | None] = {"missing": None}
    for literal in LITERALS.values():
        number = whole_number(json.loads(literal, parse_float=Decimal, parse_int=Decimal))
        by_value.setdefault(literal if number is None else number, literal)
    return list(by_value.values())


@pytest.mark.parametrize("literal", ["null", "true", "7", '"region"', "[]", "[[]]", "1e400", '"\\ud800"'])
def test_a_record_that_is_no_object_costs_that_record(shared_engine: sa.Engine, literal: str) -> None:
    history = new_history(shared_engine)
    good = json.dumps(base_region(1))
    assert history.poll(body_of([literal, good, literal])).outcome == "ok"
    found = found_in(history)
    assert found.rejected == [(None, "not_an_object")] * 2
    assert list(found.regions) == [1]
    assert {(path, kind) for path, kind, _ in found.drift} == {("results[]", "wrong_type")}
    assert history.rebuilt().different == 0


@pytest.mark.parametrize("name", LITERALS)
def test_whatever_the_count_is_the_records_apply(shared_engine: sa.Engine, name: str) -> None:
    history = new_history(shared_engine)
    body = f'{{"count": {LITERALS[name]}, "results": [{json.dumps(base_region(1))}]}}'.encode()
    result = history.poll(body)
    assert (result.failure, result.outcome) == (None, "partial")
    declared = whole_number(json.loads(LITERALS[name], parse_float=Decimal, parse_int=Decimal))
    observation = history.row("observations", source_id=history.writer.lease.source_id)
    assert observation["declared"] == declared
    found = found_in(history)
    assert list(found.regions) == [1]
    assert {path for path, _, _ in found.drift} == (set() if declared is not None else {"count"})


@pytest.mark.parametrize("name", ["missing", *LITERALS])
def test_whatever_the_results_are_the_poll_is_recorded(shared_engine: sa.Engine, name: str) -> None:
    history = new_history(shared_engine)
    literal = LITERALS.get(name)
    body = b'{"count": 1}' if literal is None else f'{{"count": 1, "results": {literal}}}'.encode()
    result = history.poll(body)
    if literal is not None and literal.startswith("["):
        assert (result.failure, result.outcome) == (
            None,
            "ok" if len(json.loads(literal)) == 1 else "partial",
        )
    else:
        assert result.outcome == "failed"
        assert result.failure is not None
        assert result.failure.cause == "not_a_listing"


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        ".",
        "a.b",
        "results[]",
        "\0",
        "\ud800",
        "é",
        "😀",
        "\x1b[0m",
        LONG,
        "é" * 5000,
        "'\"\\`;--",
        "%s",
    ],
    ids=ascii,
)
def test_an_unknown_key_of_any_name_in_any_object_is_recorded_and_costs_nothing(
    shared_engine: sa.Engine, key: str
) -> None:
    plain = base_region(1)
    odd = copy.deepcopy(plain)
    for holder in (odd, odd["keystone"], odd["metrics_database"], odd["ddos_endpoint"]):
        holder[key] = {"nested": {key: [None]}}
    history = new_history(shared_engine)
    # A number of results that differs from what is listed would be a sign of paging.
    assert history.poll({"count": 1, "results": [odd], key: 1}).outcome == "ok"
    problems = differences(history, expected({"count": 1, "results": [plain]}))
    assert problems == []
    unknown = {(path, detail) for path, kind, detail in found_in(history).drift if kind == "unknown_field"}
    assert sorted(detail for _, detail in unknown) == ["number"] + ["object"] * 4
    assert history.rebuilt().different == 0
