"""What is shipped for Grafana: SQL that answers on the demo in PostgreSQL, PromQL that asks for what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from tests.support import promql
from tests.support.databases import new_database, postgresql_program
from tests.support.demo import DemoOnPostgreSQL
from tests.support.deployed import DEPLOY, compose, run
from tests.support.tools import tool

GRAFANA = DEPLOY / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
FROM, TO = "2026-11-14T00:00:00Z", "2026-11-24T00:00:00Z"


def targets(kind: str) -> list[Any]:
    """All questions to one kind of data source: panels, variables, annotations; each with a name."""
    found = []
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                if target["datasource"]["type"] == kind:
                    said = target.get("rawSql", target.get("expr"))
                    found.append(pytest.param(said, id=f"{name}: {panel['title']} {target['refId']}"))
        for each in (*board["annotations"]["list"], *board["templating"]["list"]):
            if each["datasource"]["type"] == kind:
                said = each["target"]["rawSql"] if "target" in each else each["query"]
                found.append(pytest.param(said, id=f"{name}: {each['name']}"))
    return found


def as_grafana_asks(statement: str, source: str = "'gcore'") -> str:
    """With what its documentation says of its macros and variables."""
    statement = re.sub(
        r"\$__timeFilter\(([^()]*(?:\([^()]*\))?[^()]*)\)", rf"\1 BETWEEN '{FROM}' AND '{TO}'", statement
    )
    for word, instead in {
        "$__timeFrom()": f"'{FROM}'",
        "$__timeTo()": f"'{TO}'",
        "${source:sqlstring}": source,
    }.items():
        statement = statement.replace(word, instead)
    assert "$" not in statement
    return statement


@pytest.mark.parametrize("statement", targets("grafana-postgresql-datasource"))
def test_each_statement_answers_from_the_demo(statement: str, demo_postgresql: DemoOnPostgreSQL) -> None:
    _, rows = demo_postgresql.table(as_grafana_asks(statement, "'gcore', 'demo', 'other'"))
    assert rows


def test_a_gap_is_drawn_as_unknown(demo_postgresql: DemoOnPostgreSQL) -> None:
    (panel,) = [p for p in BOARDS["inventory"]["panels"] if p["title"] == "Regions"]
    columns, rows = demo_postgresql.table(as_grafana_asks(panel["targets"][0]["rawSql"], "'demo', 'gcore'"))
    assert columns == ["time", "region", "state"]
    assert panel["transformations"][0]["options"]["fields"] == ["region"]
    _, gaps = demo_postgresql.table(f"SELECT from_at, until_at FROM coverage_gaps WHERE until_at > '{FROM}'")
    assert len(gaps) == 3
    names = {name for _, name, _ in rows}
    for name in names:
        states = [(at, state) for at, each, state in rows if each == name]
        assert [at for at, _ in states] == sorted(at for at, _ in states)
        for begins, ends in gaps:
            middle = begins + (ends - begins) / 2
            (*_, (_, state)) = [(at, state) for at, state in states if at <= middle] or [(None, None)]
            assert state in ("UNKNOWN", "ABSENT", None), (name, middle)
    shown = {state for _, _, state in rows}
    assert {"ACTIVE", "MAINTENANCE", "UNKNOWN"} <= shown
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert shown - {None} <= set(mapping["options"]), "each state has a colour"


@pytest.mark.parametrize("expression", targets("prometheus"))
def test_each_expression_asks_for_what_there_is(expression: Any) -> None:
    text = expression["query"] if isinstance(expression, dict) else expression
    if match := re.fullmatch(r"label_values\((\w+), (\w+)\)", text):
        assert match[2] in promql.known()[match[1]]
    else:
        assert promql.metrics(text)
        assert promql.unknown(text) == set()


def test_promtool_can_read_each_expression(tmp_path: Path) -> None:
    """As rules that record it, which is how promtool is given expressions."""
    said = [case.values[0] for case in targets("prometheus")]
    expressions = [text.replace("$__rate_interval", "2m") for text in said if isinstance(text, str)]
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(expressions)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool = tool("promtool", package="prometheus")
    assert f"{len(rules)} rules found" in run(promtool, "check", "rules", tmp_path / "rules.yml")


def test_dashboards_know_the_data_sources_and_each_other() -> None:
    provisioned = GRAFANA / "provisioning"
    sources = yaml.safe_load((provisioned / "datasources" / "datasources.yaml").read_text())["datasources"]
    known = {(source["type"], source["uid"]) for source in sources}
    for board in BOARDS.values():
        text = json.dumps(board)
        used = set(re.findall(r'"type": "([\w-]+)", "uid": "([\w-]+)"', text))
        assert used <= known
        assert board["timezone"] == "utc"
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        for panel in board["panels"]:
            assert panel["type"] == "row" or panel["description"]
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 2
    service = compose()["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    (provider,) = yaml.safe_load((provisioned / "dashboards" / "dashboards.yaml").read_text())["providers"]
    assert provider["options"]["path"] == mounts["../grafana/dashboards"]
    servers = {re.sub(r"^http://", "", source["url"]).partition(":")[0] for source in sources}
    assert servers <= set(compose()["services"])
    for source in sources:
        for value in source.get("secureJsonData", {}).values():
            assert re.fullmatch(r"\$__file\{/run/secrets/([\w-]+)\}", value)[1] in service["secrets"]  # type: ignore[index]


def test_the_role_for_dashboards_reads_and_writes_nothing(postgresql_server: sa.URL, tmp_path: Path) -> None:
    """role.sql as it is run; also tables that are made after it."""
    url = new_database(postgresql_server)
    place = url.set(drivername="postgresql").render_as_string(hide_password=False)
    said = (GRAFANA / "role.sql").read_text()
    (tmp_path / "role.sql").write_text(said)
    run(
        postgresql_program("psql"),
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        "password=a-word-of-grafana",
        "-f",
        tmp_path / "role.sql",
        place,
    )
    owner = sa.create_engine(url)
    with owner.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE later (n integer)")
        assert connection.exec_driver_sql("SELECT has_table_privilege('grafana', 'later', 'SELECT')").scalar()
        for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            asked = f"SELECT has_table_privilege('grafana', 'later', '{right}')"
            assert not connection.exec_driver_sql(asked).scalar()
        asked = "SELECT rolconfig FROM pg_roles WHERE rolname = 'grafana'"
        assert "default_transaction_read_only=on" in connection.exec_driver_sql(asked).scalar_one()
        connection.exec_driver_sql("DROP OWNED BY grafana")
        connection.exec_driver_sql("DROP ROLE grafana")
    owner.dispose()
