"""The tables of docs/metrics.md, from the specifications of the metrics.

python -m tests.support.metrics_tables --write
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from collector.web.metrics import OF_DATABASE, OF_PROCESS, PREFIX, Spec
from tests.support.generated import write_if_asked
from tests.support.paths import ROOT

FILE = ROOT / "docs" / "metrics.md"
_TABLES = {"process": OF_PROCESS, "database": OF_DATABASE}


def table(specs: Mapping[str, Spec]) -> str:
    """One line a metric, as it is called in the text that Prometheus reads."""
    lines = ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
    for name, spec in specs.items():
        full = f"{PREFIX}{name}{'_total' if spec.kind == 'counter' else ''}"
        labels = " ".join(f"`{label}`" for label in spec.labels)
        lines.append(f"| `{full}` | {spec.kind} | {labels} | {spec.help} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The document with its tables as they have to be, each between its two marks."""
    for name, specs in _TABLES.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        middle = f"{begin}\n\n{table(specs)}\n\n{end}"
        text = re.sub(f"{begin}.*?{end}", lambda _, middle=middle: middle, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    write_if_asked(FILE, lambda: with_tables(FILE.read_text(encoding="utf-8")), __doc__)
