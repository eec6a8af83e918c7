"""The samples in a text of metrics, by their names without our prefix and their labels."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families as families

from collector.web.metrics import PREFIX


def values(text: str) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples, by name and labels."""
    found = {}
    for family in families(text):
        for sample in family.samples:
            key = sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float | None:
    return values(text).get((name, frozenset(labels.items())))
