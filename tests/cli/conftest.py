"""Fixtures that commands share."""

from __future__ import annotations

from tests.support.receivers import hook  # noqa: F401
