"""collector/reports/views/digests.json: by which the collector sees, without rendering them, whether views are current.

python -m tests.support.view_digests --write      after a change of a view
"""

from __future__ import annotations

import json
import sys

from collector.reports import views
from tests.support.paths import ROOT

FILE = ROOT / "collector" / "reports" / "views" / "digests.json"


def text() -> str:
    """The whole file."""
    return (
        json.dumps({dialect: views.digest(dialect) for dialect in ("sqlite", "postgresql")}, indent=2) + "\n"
    )


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
