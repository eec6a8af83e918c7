"""Invented views of a running service, for a source that is polled normally or as a test says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from collector.service.tally import Tally
from collector.service.view import SourceView, View


def source_view(name: str = "gcore", **other: Any) -> SourceView:
    plain = SourceView(
        name, condition=None, seconds_since_attempt=1.0, holds_lease=True, kept=0, tally=Tally()
    )
    return replace(plain, **other)


def view_of(*sources: SourceView, **other: Any) -> View:
    plain = View(sources, patience_seconds=90.0, is_stopping=False, phases={}, missed=0, broken=0)
    return replace(plain, **other)
