"""The tables of fields in docs/questions.md, made from the columns that reports declare.

python -m tests.support.questions_page --write      after a change of a report's columns
"""

from __future__ import annotations

import re

from collector.reports.availability import AVAILABILITY
from collector.reports.changes import DIFF, HISTORY
from collector.reports.columns import Report
from collector.reports.coverage import COVERAGE
from collector.reports.inventory import REGIONS
from collector.reports.lead_time import LEAD_TIME_SUMMARY, LEAD_TIMES
from collector.reports.outbox import DELIVERIES, RECEIVERS
from collector.reports.spans import SPANS
from collector.reports.status import STATUS
from collector.reports.transitions import TRANSITIONS
from tests.support.generated import write_if_asked
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "questions.md"
REPORTS = {
    "status": STATUS,
    "regions": REGIONS,
    "history": HISTORY,
    "transitions": TRANSITIONS,
    "coverage": COVERAGE,
    "diff": DIFF,
    "availability": AVAILABILITY,
    "lead-time": LEAD_TIMES,
    "summary": LEAD_TIME_SUMMARY,
    "timeline": SPANS,
    "receivers": RECEIVERS,
    "deliveries": DELIVERIES,
}
"""By the headings of the page."""


def page() -> str:
    """The whole page, with the tables as they should be."""
    return re.sub(
        r"(?ms)^(##+ ([\w-]+)\n(?:(?!^#).)*?^\| field \| type \| meaning \|\n\|---\|---\|---\|\n)((?:\|.*?\n)+)",
        lambda found: found[1] + (_rows(REPORTS[found[2]]) if found[2] in REPORTS else found[3]),
        PAGE.read_text(encoding="utf-8"),
    )


def _rows(report: Report) -> str:
    return "".join(f"| `{c.name}` | {c.type} | {c.meaning} |\n" for c in report.columns)


if __name__ == "__main__":
    write_if_asked(PAGE, page, __doc__)
