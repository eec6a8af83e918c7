"""Results as Markdown, and their places in the documentation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.answers import KINDS
from tests.benchmarks.contestants import ALL
from tests.benchmarks.curves import exponent
from tests.benchmarks.goals import MIB, Costs, goals
from tests.benchmarks.plots import Points, chart

ROOT = Path(__file__).parent.parent.parent
BEGIN, END = "<!-- measured: python -m tests.benchmarks --write -->", "<!-- end of what was measured -->"
_DOCS = ROOT / "docs"


def markdown(found: dict[str, Any]) -> str:
    return "\n".join(_parts(found))


def write(found: dict[str, Any]) -> None:
    """Renew the measured parts of the documentation, and the plots."""
    for name, title, x, y, lines in _plots(found):
        if any(len(points) > 1 for points in lines.values()):
            (_DOCS / f"performance-{name}.svg").write_text(chart(title, x, y, lines), encoding="utf-8")
    _renew(_DOCS / "performance.md", markdown(found))
    _renew(ROOT / "README.md", "\n".join(_summary(found)))


def _renew(file: Path, text: str) -> None:
    whole = file.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{file} has no place for what was measured"
    assert end, f"{file} has no end of what was measured"
    file.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _met(is_met: bool) -> str:
    return "met" if is_met else "**not met**"


def _summary(found: dict[str, Any]) -> Iterator[str]:
    """Where we stand, in a few lines."""
    costs, date = Costs(found.get("polls", [])), found["machine"]["date"]
    yield f"Milliseconds of CPU for a whole poll of 1,000 regions on SQLite, {date}:"
    yield ""
    names = [
        name
        for name in ("collector-sqlite", "dlt-sqlite", "merge-sqlite")
        if costs.get(name, "unchanged", 1000)
    ]
    yield from _table(
        ["", *(kind.name for kind in KINDS)],
        [
            [name, *(_milliseconds(costs.get(name, kind.name, 1000), "cpu") for kind in KINDS)]
            for name in names
        ],
    )
    every = list(goals(found))
    yield f"{sum(goal.is_met for goal in every)} of {len(every)} goals are met."


def _parts(found: dict[str, Any]) -> Iterator[str]:
    where = found.get("machine")
    if not where:
        yield "nothing was measured"
        return
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    yield (
        f"Run on {where['date']}: {where['cores']} cores of {where['cpu']}, {where['system']}, load {where['load']}"
        f" at the end. Versions: {versions}. Seconds that each part took: "
        + ", ".join(f"{name} {seconds}" for name, seconds in found["took"].items())
        + "."
    )
    yield ""
    yield "### Goals"
    yield ""
    yield from _table(
        ["", "goal", "measured", ""], [[g.what, g.goal, g.measured, _met(g.is_met)] for g in goals(found)]
    )
    yield from _polls(found)
    yield from _others(found)
    yield from _curves(found)


def _milliseconds(row: dict[str, Any] | None, what: str) -> str:
    return "–" if row is None else f"{row[what] * 1000:,.1f}"


def _polls(found: dict[str, Any]) -> Iterator[str]:
    costs = Costs(found.get("polls", []))
    for size in costs.sizes:
        yield f"### {size:,} regions: milliseconds of CPU time / wall-clock time"
        yield ""
        rows = []
        for name in ALL:
            cells = []
            for kind in KINDS:
                row = costs.get(name, kind.name, size)
                cells.append(
                    "–" if row is None else f"{_milliseconds(row, 'cpu')} / {_milliseconds(row, 'wall')}"
                )
            memory = costs.get(name, "memory", size)
            if memory:
                last = f"{memory['bytes'] / MIB:.0f}" if "bytes" in memory else memory["refused"]
                rows.append([name, *cells, last])
        yield from _table(["", *(kind.name for kind in KINDS), "memory, MiB"], rows)


def _others(found: dict[str, Any]) -> Iterator[str]:
    if rows := found.get("growth"):
        yield "### Growth of the database"
        yield ""
        yield from _table(
            ["", "polls with 1 % changed", "regions changed", "bytes", "bytes a changed region"],
            [
                [r["contestant"], str(r["polls"]), str(r["changed"]), f"{r['bytes']:,}", f"{r['each']:,.0f}"]
                for r in rows
            ],
        )
    if rows := found.get("memory"):
        costs = Costs(rows)
        yield f"### {rows[0]['size']:,} regions, once"
        yield ""
        table = []
        for row in rows:
            if row["kind"] == "memory":
                name, size = row["contestant"], row["size"]
                seconds = [costs.get(name, kind, size) for kind in ("first load", "1 % changed")]
                cells = [
                    "–" if each is None else f"{each['cpu']:,.1f} / {each['wall']:,.1f}" for each in seconds
                ]
                memory = f"{row['bytes'] / MIB:,.0f}" if "bytes" in row else "–"
                table.append([name, *cells, memory, row.get("refused", "")])
        yield from _table(
            ["", "first load, s of CPU time / wall-clock time", "1 % changed", "memory, MiB", ""], table
        )
    if rows := found.get("start"):
        yield "### Start of commands"
        yield ""
        yield from _table(
            ["", "ms of CPU time", "ms of wall-clock time"],
            [[f"`{r['command']}`", _milliseconds(r, "cpu"), _milliseconds(r, "wall")] for r in rows],
        )
    if rows := found.get("reports", {}).get("rows"):
        shape = found["reports"]["shape"]
        yield (
            f"### Reports: {shape['regions']:,} regions, {shape['regions'] * shape['transitions']:,} transitions, "
            f"{shape['observations']:,} observations"
        )
        yield ""
        yield from _table(
            ["", "s of CPU time", "s of wall-clock time"],
            [[r["report"], f"{r['cpu']:.2f}", f"{r['wall']:.2f}"] for r in rows],
        )


def _curves(found: dict[str, Any]) -> Iterator[str]:
    for name, title, x, y, lines in _plots(found):
        yield f"### {title}"
        yield ""
        values = sorted({point[0] for points in lines.values() for point in points})
        yield from _table(
            [f"{y}, by {x}", *(f"{value:,}" for value in values), "exponent"],
            [
                [
                    line,
                    *(f"{dict(points)[v]:,.2f}" if v in dict(points) else "–" for v in values),
                    f"{exponent(points):.2f}" if len(points) > 1 else "–",
                ]
                for line, points in lines.items()
            ],
        )
        for row in found[name]:
            if "refused" in row:
                yield f"Ended at {row['size']:,} regions: {row['refused']}"
                yield ""
        if any(len(points) > 1 for points in lines.values()):
            yield f"![{title}](performance-{name}.svg)"
            yield ""


def _plots(found: dict[str, Any]) -> Iterator[tuple[str, str, str, str, dict[str, Points]]]:
    """Name, title, names of the axes, lines."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in found.get("regions", []):
        if "cpu" in row:
            lines[f"{row['contestant']}, {row['kind']}"].append((row["size"], row["cpu"] * 1000))
    if lines:
        yield "regions", "Cost of a poll against regions", "regions", "ms of CPU time", dict(lines)
    lines = defaultdict(list)
    for row in found.get("history", []):
        lines[f"{row['question']}, {row['database']}"].append((row["transitions"], row["wall"] * 1000))
    if lines:
        yield (
            "history",
            "Cost of a question against history",
            "transitions",
            "ms of wall-clock time",
            dict(lines),
        )
    lines = defaultdict(list)
    for row in found.get("sources", []):
        lines["a minute of polls"].append((row["sources"], row["minute"] * 1000))
        lines["`status`"].append((row["sources"], row["status"] * 1000))
    if lines:
        yield "sources", "Cost of a minute against sources", "sources", "ms of CPU time", dict(lines)
