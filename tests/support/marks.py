"""Marks that several rooms of tests use."""

from __future__ import annotations

import pytest


def long_on_postgresql(fixture: str) -> pytest.MarkDecorator:
    """Runs a test on both databases; on PostgreSQL only among the long tests. `fixture`: the one that is either."""
    both = ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
    return pytest.mark.parametrize(fixture, both, indirect=True)
