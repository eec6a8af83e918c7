"""Rules and settings for Prometheus: promtool accepts them, they ask for what there is; each alert has a runbook."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support import promql
from tests.support.deployed import DEPLOY, compose, run
from tests.support.paths import ROOT
from tests.support.prometheus_rule import RULES
from tests.support.tools import tool

FOLDER = DEPLOY / "prometheus"
TESTS = (FOLDER / "rules.test.yml", FOLDER / "rules.days.test.yml")
OPERATIONS = ROOT / "docs" / "operations.md"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.fixture
def promtool() -> str:
    return tool("promtool", package="prometheus")


def test_promtool_accepts_rules_and_settings(promtool: str) -> None:
    assert f"{len(rules())} rules found" in run(promtool, "check", "rules", RULES)
    run(promtool, "check", "config", "--syntax-only", FOLDER / "prometheus.yml")


@pytest.mark.long
def test_each_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    """Each alert is expected once at least, and once at least it is not."""
    run(promtool, "test", "rules", *TESTS)
    tests = [test for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    cases = [case for each in tests for case in each["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    names = {rule["alert"] for rule in rules()}
    assert fires == names
    # Silence is another time of the same alert, or a series beside the one that fires.
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    silent |= {
        case["alertname"]
        for each in tests
        for case in each["alert_rule_test"]
        if len(case["exp_alerts"]) < len({str(s["series"]) for s in each["input_series"]})
    }
    assert silent == names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    assert promql.metrics(rule["expr"])
    assert promql.unknown(rule["expr"]) == set()
    assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("gcore_collector_database_up == 0", set()),
        ("gcore_collector_database_op == 0", {"gcore_collector_database_op"}),
        ('sum by (source, cuase) (rate(gcore_collector_failed_polls_total{cause="x"}[5m]))', {"cuase"}),
        ('gcore_collector_database_up{source="x"}', {"source"}),
        ("histogram_quantile(0.9, sum by (le) (rate(gcore_collector_poll_phase_seconds_bucket[5m])))", set()),
    ],
)
def test_what_is_misspelt_is_found(expression: str, unknown: set[str]) -> None:
    assert promql.unknown(expression) == unknown


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_has_a_runbook(rule: dict[str, Any]) -> None:
    headings = re.findall(r"^### (\w+)$", OPERATIONS.read_text(), re.M)
    assert headings.count(rule["alert"]) == 1
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    headings = set(re.findall(r"^### (Collector\w+)$", OPERATIONS.read_text(), re.M))
    assert headings == {rule["alert"] for rule in rules()}


def test_prometheus_asks_the_collectors_of_compose() -> None:
    (scraped,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (names,) = scraped["dns_sd_configs"]
    services = compose()["services"]
    assert set(names["names"]) <= set(services)
    assert services["collector"]["environment"]["COLLECTOR_HTTP_BIND"].endswith(f":{names['port']}")
    token = scraped["authorization"]["credentials_file"]
    assert token.rpartition("/")[2] in services["prometheus"]["secrets"]
    mounted = " ".join(services["prometheus"]["volumes"])
    assert "../prometheus/prometheus.yml:" in mounted
    assert "../prometheus/rules.yml:" in mounted


def test_links_within_the_page_lead_to_headings() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    known = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= known
