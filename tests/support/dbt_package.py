"""The dbt package, deploy/dbt/models, made from the comments of tables and the heads of views.

python -m tests.support.dbt_package --write      after a change of a table or a view
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from collector.reports import views
from collector.reports.types import word_of
from collector.store.tables import metadata
from tests.support.paths import ROOT

FOLDER = ROOT / "deploy" / "dbt"
MODELS = FOLDER / "models"
TABLES = (
    *("sources", "observers", "observations"),
    *("region_versions", "keystone_versions", "metrics_database_versions"),
)
"""Tables of the package, beside all views. Views say all that the others hold."""
_NOT_EXPORTED = {"lease_owner", "lease_expires_at", "lease_epoch", "key_salt", "corrections"}
_KEYS: Mapping[str, tuple[str, ...]] = {
    "current_regions": ("region_id",),
    "all_regions": ("region_id",),
    "current_keystones": ("keystone_id",),
    "current_metrics_databases": ("metrics_database_id",),
    "region_transitions": ("region_id", "seq"),
    "keystone_transitions": ("keystone_id", "seq"),
    "region_changes": ("region_id", "seq", "field"),
    "keystone_changes": ("keystone_id", "seq", "field"),
    "coverage_gaps": ("from_at",),
    "region_state_spans": ("region_id", "from_at"),
    "keystone_state_spans": ("keystone_id", "from_at"),
    "region_states": ("region_id", "from_at"),
    "keystone_states": ("keystone_id", "from_at"),
    "region_state_intervals": ("region_id", "from_latest", "state"),
    "keystone_state_intervals": ("keystone_id", "from_latest", "state"),
    "daily_region_states": ("region_id", "day", "state"),
    "availability_monthly": ("region_id", "month"),
    "poll_health": ("day",),
}
"""What names one row of a view, beside its source. `field` is NULL where an entity was listed."""
_IN_ORDER = (
    ("not_before", "observed_at"),
    ("not_before", "valid_from"),
    ("valid_from", "valid_to"),
    ("from_at", "until_at"),
    ("from_earliest", "from_latest"),
    ("first_at", "last_at"),
    ("seconds_at_least", "seconds_at_most"),
    ("share_at_least", "share_at_most"),
)
"""Columns the first of which is never greater than the second."""
_TYPES = {
    "time": "timestamp with time zone",
    "double": "double precision",
    "list": "text",
}
_HEAD = "# Made by `python -m tests.support.dbt_package --write`; do not edit.\n"


@dataclass(frozen=True)
class Relation:
    """A table or view, as the lake has it: its first column is the name of the source."""

    name: str
    said: str
    columns: Sequence[Mapping[str, Any]]
    """As dbt describes them."""
    key: Sequence[str]
    is_view: bool


def relations() -> list[Relation]:
    """All that the package describes: the tables, then the views."""
    return [*map(_table, TABLES), *map(_view, views.NAMES)]


def _table(name: str) -> Relation:
    table = metadata.tables[name]
    kept = [c for c in table.columns if c.name not in _NOT_EXPORTED | {"source_id"}]
    enums = _enums(table)
    columns = [
        _column(c.name, c.type, str(c.comment), not_null=not c.nullable, values=enums.get(c.name))
        for c in kept
    ]
    key = [str(c.name) for c in table.primary_key.columns if c.name != "source_id"]
    if name != "sources":
        said = str(metadata.tables["sources"].c.name.comment)
        columns.insert(0, _column("source", sa.Text(), said, not_null=True))
        key.insert(0, "source")
    return Relation(name, str(table.comment), columns, key, is_view=False)


def _view(name: str) -> Relation:
    key = ["source", *_KEYS[name]] if name in _KEYS else []
    values = {}
    for line in views.head(name).columns:
        own, word, said = (*line.split(None, 2), "", "")[:3]
        table, _, column = said.partition(".")
        if word == "=" and table in metadata.tables:
            values[own] = _enums(metadata.tables[table]).get(column)
    columns = [
        _column(
            c.name, c.type, c.comment, not_null=c.name in key and c.name != "field", values=values.get(c.name)
        )
        for c in views.columns(name)
    ]
    return Relation(name, views.what_a_row_is(name), columns, key, is_view=True)


def _enums(table: sa.Table) -> dict[str, list[str]]:
    """The values of columns that a constraint lists."""
    found = {}
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint) and (
            match := re.fullmatch(r"(\w+) IN \(([^()]*)\)", str(constraint.sqltext))
        ):
            found[match[1]] = re.findall(r"'([^']*)'", match[2])
    return found


def _column(
    name: str, of_type: Any, said: str, *, not_null: bool, values: Sequence[str] | None = None
) -> dict[str, Any]:
    tests: list[Any] = ["not_null"] if not_null else []
    if values:
        tests.append({"accepted_values": {"arguments": {"values": list(values)}}})
    word = word_of(of_type)
    column: dict[str, Any] = {
        "name": str(name),
        "description": said,
        "data_type": _TYPES.get(word, word),
    }
    return column | ({"data_tests": tests} if tests else {})


def _tests(relation: Relation) -> list[Any]:
    names = {column["name"] for column in relation.columns}
    tests: list[Any] = []
    if len(relation.key) > 1:
        tests.append({"unique_together": {"arguments": {"columns": list(relation.key)}}})
    tests += [
        {"in_order": {"arguments": {"earlier": earlier, "later": later}}}
        for earlier, later in _IN_ORDER
        if {earlier, later} <= names
    ]
    return tests


def files() -> dict[Path, str]:
    """Every file that is made, and its text."""
    found = {MODELS / "sources.yml": _yaml(_sources()), MODELS / "staging" / "staging.yml": _yaml(_staging())}
    return found | {MODELS / "staging" / f"{_model(r)}.sql": _sql(r) for r in relations()}


def _model(relation: Relation) -> str:
    return f"stg_collector__{relation.name}"


def _sources() -> dict[str, Any]:
    return {
        "version": 2,
        "sources": [
            {
                "name": "collector",
                "description": "The collector's database on PostgreSQL, or its export as a lake on DuckDB.",
                "schema": "{{ var('collector_schema') }}",
                "config": {"meta": {"external_location": "{{ var('collector_lake') }}/{name}/**/*.parquet"}},
                "tables": [_source(relation) for relation in relations()],
            }
        ],
    }


def _source(relation: Relation) -> dict[str, Any]:
    # A database holds the number of the source where the lake holds its name: only the model has both.
    columns = relation.columns if relation.is_view or relation.name == "sources" else relation.columns[1:]
    table: dict[str, Any] = {"name": relation.name, "description": relation.said, "columns": list(columns)}
    if relation.is_view:
        table["data_tests"] = _tests(relation)
    if relation.name == "observations":
        table["config"] = {
            "loaded_at_field": "last_at",
            "freshness": {
                "warn_after": {"count": 15, "period": "minute"},
                "error_after": {"count": 2, "period": "hour"},
                "filter": "outcome <> 'failed'",
            },
        }
    return table


def _staging() -> dict[str, Any]:
    return {"version": 2, "models": [_staged(relation) for relation in relations()]}


def _staged(relation: Relation) -> dict[str, Any]:
    model: dict[str, Any] = {"name": _model(relation), "description": relation.said}
    if relation.is_view:  # its source is tested already
        plain = [{k: v for k, v in column.items() if k != "data_tests"} for column in relation.columns]
        model["columns"] = plain
        plain[0]["data_tests"] = [
            {
                "relationships": {
                    "arguments": {"to": "source('collector', 'sources')", "field": "name"},
                }
            }
        ]
        return model
    return model | {"columns": list(relation.columns), "data_tests": _tests(relation)}


def _sql(relation: Relation) -> str:
    head = "-- Made by `python -m tests.support.dbt_package --write`; do not edit.\n"
    names = [column["name"] for column in relation.columns]
    if relation.is_view or relation.name == "sources":
        listed = ",\n".join(f"    {name}" for name in names)
        return f"{head}select\n{listed}\nfrom {{{{ source('collector', '{relation.name}') }}}}\n"
    listed = ",\n".join(["    {{ source_name() }} as source", *(f"    t.{name}" for name in names[1:])])
    source = f"{{{{ source('collector', '{relation.name}') }}}} as t"
    return f"{head}select\n{listed}\nfrom {source}\n{{{{ join_sources() }}}}\n"


def _yaml(value: Any) -> str:
    return _HEAD + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)


class _Dumper(yaml.SafeDumper):
    """Writes lists further in than their names, and no references to what was written before."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def stale() -> Iterator[str]:
    """Files that are not what would be made now, or that nothing makes any longer."""
    made = files()
    for path, text in made.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield path.name
    yield from (path.name for path in MODELS.rglob("*.*") if path not in made)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    for path in [path for path in MODELS.rglob("*.*") if path not in files()]:
        path.unlink()
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
