"""All files in the repository that are made from the code: schema, views, settings, metrics and alerts.

python -m tests.support.renew --write      after a change of any of these
"""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

MODULES = (
    "tests.support.view_digests",  # the next one installs the views
    "tests.database.test_catalog",
    "tests.support.dictionary",
    "tests.support.questions_page",
    "tests.support.duckdb_views",
    "tests.support.dbt_package",
    "tests.support.datasette_metadata",
    "tests.support.metrics_tables",
    "tests.support.prometheus_rule",
    "tests.system.test_deploy",
)
"""Each writes its own file, in this order."""
SLOW = (
    "tests.cli.test_examples",
    "tests.reports.test_cookbook",
    "tests.reports.test_timeline",
    "tests.benchmarks.__main__",
)
"""These write what a demo or a benchmark printed. They take longer, so each is started by itself."""


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    for module in MODULES:
        print(module)
        subprocess.run([sys.executable, "-m", module, "--write"], cwd=ROOT, check=True)
