"""collector/reports/views/digests.json: by which the collector sees, without rendering them, whether views are current.

python -m tests.support.view_digests --write      after a change of a view
"""

from __future__ import annotations

import json

from collector.reports import views
from tests.support.generated import write_if_asked
from tests.support.paths import ROOT

FILE = ROOT / "collector" / "reports" / "views" / "digests.json"


def text() -> str:
    """The whole file."""
    return (
        json.dumps({dialect: views.digest(dialect) for dialect in ("sqlite", "postgresql")}, indent=2) + "\n"
    )


if __name__ == "__main__":
    write_if_asked(FILE, text, __doc__)
