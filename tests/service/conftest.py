"""Fixtures that several files of this room use."""

from __future__ import annotations

from tests.support.receivers import hook  # noqa: F401
from tests.support.services import schedule, simulator, start, watched  # noqa: F401
