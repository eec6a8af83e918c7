"""Fixtures that several files of this room use."""

from __future__ import annotations

from tests.support.services import simulator, start  # noqa: F401
