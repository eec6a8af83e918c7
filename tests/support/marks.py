"""Marks that several rooms of tests use."""

from __future__ import annotations

import pytest


def long_on_postgresql(fixture: str) -> pytest.MarkDecorator:
    """Runs a test on both databases; on PostgreSQL only among the long tests. `fixture`: the one that is either."""
    return _marked(fixture, pytest.mark.long)


def slow_on_postgresql(fixture: str) -> pytest.MarkDecorator:
    """The same, for the slow tests."""
    return _marked(fixture, pytest.mark.slow)


def _marked(fixture: str, mark: pytest.MarkDecorator) -> pytest.MarkDecorator:
    both = ["sqlite", pytest.param("postgresql", marks=mark)]
    return pytest.mark.parametrize(fixture, both, indirect=True)
