"""What an expression of PromQL names: metrics, and the labels that it expects of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from collector.web.metrics import OF_DATABASE, OF_PROCESS, PREFIX

_WORDS = {
    *(
        "by",
        "on",
        "without",
        "ignoring",
        "group_left",
        "group_right",
        "and",
        "or",
        "unless",
        "offset",
        "bool",
    ),
    *("absent", "changes", "count", "delta", "histogram_quantile", "increase", "label_replace", "max", "min"),
    *("predict_linear", "rate", "sum", "time"),
}
_OF_PROMETHEUS = frozenset({"job", "instance", "namespace", "pod"})
"""Labels that Prometheus adds to everything that it scrapes."""


def known() -> Mapping[str, frozenset[str]]:
    """Every series that our rules and dashboards may name, with its labels."""
    found: dict[str, frozenset[str]] = {}
    for name, spec in {**OF_PROCESS, **OF_DATABASE}.items():
        labels = frozenset(spec.labels)
        match spec.kind:
            case "counter":
                found[f"{PREFIX}{name}_total"] = labels
            case "histogram":
                found[f"{PREFIX}{name}_bucket"] = labels | {"le"}
                found |= {f"{PREFIX}{name}_{end}": labels for end in ("sum", "count")}
            case _:
                found[PREFIX + name] = labels
    of_process = ("start_time_seconds", "resident_memory_bytes", "cpu_seconds_total", "open_fds")
    return (
        found
        | {f"process_{name}": frozenset() for name in of_process}
        | {"up": frozenset(), "ALERTS": frozenset({"alertname", "alertstate"})}
    )


def metrics(expression: str) -> set[str]:
    """Names of all series, without functions, operators, labels, strings and durations."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)", " ", text)
    return set(re.findall(r"(?<![\w$])[a-zA-Z_]\w*", text)) - _WORDS


def labels(expression: str) -> set[str]:
    """Names of all labels that are selected, grouped or matched by."""
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = re.findall(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)", expression)
    return {*selected, *(word for group in grouped for word in re.split(r"[,\s]+", group) if word)}


def unknown(expression: str) -> set[str]:
    """What an expression names and /metrics never says."""
    series = known()
    named = metrics(expression)
    theirs = {label for name in named for label in series.get(name, ())}
    return (named - set(series)) | (labels(expression) - theirs - _OF_PROMETHEUS)
