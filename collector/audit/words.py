"""Findings as sentences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from collector.audit.findings import Break
from collector.clock import time_text


def break_in_words(broken: Break) -> str:
    """Where it is, the stored and the expected value, and what is wrong."""
    key = ", ".join(f"{name} {value}" for name, value in broken.key.items() if name != "source_id")
    where = f"{broken.table} ({key})" if key else broken.table
    if broken.field is None:
        return f"{where}: {broken.why}"
    values = f"stored {_short(broken.stored)}"
    if broken.has_expected:
        return f"{where}, {broken.field}: {values}, expected {_short(broken.expected)}; {broken.why}"
    return f"{where}, {broken.field}: {broken.why if broken.stored is None else f'{values}; {broken.why}'}"


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        value = time_text(value)
    text = "NULL" if value is None else str(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 100 else text[:99] + "…"
