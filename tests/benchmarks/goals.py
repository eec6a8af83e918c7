"""What the figures are held against: ratios in one run, and limits. If a goal is met is computed, never written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.answers import ALL, FIRST, ORDER, PART, SPELLING, UNCHANGED, Kind

MIB = 1 << 20


@dataclass(frozen=True)
class Goal:
    what: str
    goal: str
    measured: str
    is_met: bool


class Costs:
    """Figures of one run, by contestant, kind and number of regions."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = {(row["contestant"], row["kind"], row["size"]): row for row in rows if "kind" in row}

    @property
    def sizes(self) -> list[int]:
        return sorted({size for _, _, size in self._rows})

    def get(self, contestant: str, kind: str, size: int) -> dict[str, Any] | None:
        return self._rows.get((contestant, kind, size))

    def ratio(self, one: str, of: Kind, other: str, to: Kind, size: int) -> tuple[float, float] | None:
        """By CPU time and by wall time: how many times `one` takes what `other` does."""
        a, b = self.get(one, of.name, size), self.get(other, to.name, size)
        return None if a is None or b is None else (a["cpu"] / b["cpu"], a["wall"] / b["wall"])


def goals(found: dict[str, Any]) -> Iterator[Goal]:
    """Judged by CPU time: the machine may be shared. PostgreSQL's own is included."""
    costs = Costs(found.get("polls", []))
    for database in ("sqlite", "postgresql"):
        yield from _of_polls(costs, database)
    for row in found.get("growth", []):
        if row["contestant"].startswith("collector"):
            database = row["contestant"].removeprefix("collector-")
            kilobytes = row["each"] / 1000
            what = f"growth per changed region, 1 % changed, {_name(database)}"
            yield Goal(what, "at most 1.5 KB", f"{kilobytes:.2f} KB", kilobytes <= 1.5)
    yield from _of_memory(Costs([*found.get("polls", []), *found.get("memory", [])]))
    started = {row["command"]: row["cpu"] for row in found.get("start", [])}
    for name in ("collector regions", "collector status"):
        if name in started:
            ratio = started[name] / started["import click, sqlalchemy"]
            yield Goal(f"`{name}`, small database", "at most 1.5 × imports", f"{ratio:.2f} ×", ratio <= 1.5)
    for row in found.get("reports", {}).get("rows", []):
        yield Goal(
            f"{row['report']}, long history", "at most 2 s of CPU", f"{row['cpu']:.2f} s", row["cpu"] <= 2
        )


def _name(database: str) -> str:
    return {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database]


def _of_polls(costs: Costs, database: str) -> Iterator[Goal]:
    ours, dlt = f"collector-{database}", f"dlt-{database}"
    for size in costs.sizes:
        where = f"{size:,} regions, {_name(database)}"
        if ratio := costs.ratio(ours, UNCHANGED, "get-sha256", UNCHANGED, size):
            measured = f"{ratio[0]:.2f} × (wall {ratio[1]:.2f})"
            yield Goal(f"unchanged, {where}", "at most 1.5 × GET + SHA-256", measured, ratio[0] <= 1.5)
        if size < 1000:
            continue
        half = 2.0 if size <= 1000 else 1.5
        for kind, against, least in (
            (ORDER, UNCHANGED, 5.0),
            (SPELLING, UNCHANGED, 5.0),
            (PART, PART, 15.0),
            (ALL, ALL, half),
            (FIRST, FIRST, half),
        ):
            if ratio := costs.ratio(dlt, against, ours, kind, size):
                than = "dlt's unchanged poll" if against is not kind else "dlt"
                measured = f"{ratio[0]:.1f} × (wall {ratio[1]:.1f})"
                yield Goal(
                    f"{kind.name}, {where}",
                    f"at least {least:g} × faster than {than}",
                    measured,
                    ratio[0] >= least,
                )


def _of_memory(costs: Costs) -> Iterator[Goal]:
    for size in costs.sizes:
        ours, theirs = costs.get("collector-sqlite", "memory", size), costs.get("dlt-sqlite", "memory", size)
        if size < 10_000 or not ours or not theirs:
            continue
        what = f"peak memory, {size:,} regions, SQLite"
        if "refused" in ours:
            yield Goal(what, "at most dlt's", f"not measured: {ours['refused']}", is_met=False)
            continue
        measured = f"{ours['bytes'] / MIB:.0f} MiB, dlt {theirs['bytes'] / MIB:.0f} MiB"
        yield Goal(what, "at most dlt's", measured, ours["bytes"] <= theirs["bytes"])
