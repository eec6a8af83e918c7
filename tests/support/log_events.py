"""Every event that the code logs, with its fields, and those that docs/operations.md tells of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

METHODS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


@dataclass(frozen=True)
class Documented:
    levels: set[str]
    fields: set[str]


def logged(folder: Path = ROOT / "collector") -> Mapping[str, tuple[set[str], set[str]]]:
    """By event: the levels that are fixed, and all fields. Fails where an event's name is no literal."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            assert not _is_of_log(node) or id(node) in called, f"{path}: a method of log under another name"
        for scope in ast.walk(tree):
            if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in _calls(scope):
                    event, level, fields = _said(call, scope)
                    levels, known = found.setdefault(event, (set(), set()))
                    levels |= {level} - {"log"}
                    known |= fields
    return found


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    """Those of this function, not of functions in it."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Call) and _is_of_log(node.func):
            yield node
        yield from _calls(node)


def _is_of_log(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr in METHODS
        and isinstance(node.value, ast.Name)
        and node.value.id == "log"
    )


def _said(call: ast.Call, scope: ast.AST) -> tuple[str, str, set[str]]:
    assert isinstance(call.func, ast.Attribute)
    level = call.func.attr
    event = call.args[1 if level == "log" else 0]
    assert isinstance(event, ast.Constant), f"an event's name is no literal: {ast.unparse(call)}"
    fields: set[str] = set()
    for keyword in call.keywords:
        if keyword.arg is not None:
            fields.add("exception" if keyword.arg == "exc_info" else keyword.arg)
        elif isinstance(keyword.value, ast.Dict):
            fields |= _keys(keyword.value)
        else:
            assert isinstance(keyword.value, ast.Name), ast.unparse(call)
            fields |= _keys_of(keyword.value.id, scope)
    if level == "exception":
        level, fields = "error", fields | {"exception"}
    return event.value, level, fields


def _keys(node: ast.expr) -> set[str]:
    return (
        {key.value for key in node.keys if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Dict)
        else set()
    )


def _keys_of(name: str, scope: ast.AST) -> set[str]:
    """All that is put into a dictionary in this function."""
    found: set[str] = set()
    for node in ast.walk(scope):
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign | ast.AugAssign)
            else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and target.id == name and node.value is not None:  # type: ignore[attr-defined]
                found |= _keys(node.value)  # type: ignore[attr-defined]
            if (
                isinstance(target, ast.Subscript)
                and isinstance(target.value, ast.Name)
                and target.value.id == name
                and isinstance(target.slice, ast.Constant)
            ):
                found.add(target.slice.value)
    return found


def documented(page: str) -> Mapping[str, Documented]:
    """The rows of the table between its two marks."""
    table = page.partition("<!-- events of the log")[2].partition("<!-- end of the events")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+?) \|([^|]*)\|", table, re.M)
    assert len(rows) == len({event for event, _, _ in rows}), "an event stands there twice"
    return {
        event: Documented(set(re.split(r",\s*", levels)), set(re.findall(r"`(\w+)`", fields)))
        for event, levels, fields in rows
    }
