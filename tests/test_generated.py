"""One command writes all files that are made from the code."""

from __future__ import annotations

import re

from tests.support import renew
from tests.support.paths import ROOT


def test_the_command_knows_every_module_that_writes_a_file_of_the_repository() -> None:
    writes = re.compile(r'write_if_asked\(|sys\.argv\[1:\] [!=]= \["--write"\]|add_argument\("--write"')
    files = sorted((ROOT / "tests").rglob("*.py"))
    found = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in files
        if writes.search(path.read_text(encoding="utf-8"))
    }
    helpers = {"tests.support.generated", "tests.support.renew", "tests.test_generated"}
    assert found - helpers == {*renew.MODULES, *renew.SLOW}
