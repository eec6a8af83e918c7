"""Files in the repository that are made from the code; a test of each fails where it is not what would be made now."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def write_if_asked(file: Path, text: Callable[[], str], usage: str | None) -> None:
    """What `python -m tests.support.NAME --write` does; without --write it says what it would be for."""
    if sys.argv[1:] != ["--write"]:
        sys.exit(usage)
    file.write_text(text(), encoding="utf-8")
