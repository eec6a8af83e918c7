"""Fixtures that several files of this room use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from tests.support.pages import Serve, serving
from tests.support.services import simulator, start  # noqa: F401 - fixtures


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves databases until the test ends."""
    with ExitStack() as stack:

        def start(database: str | sa.URL, **options: Any) -> httpx.Client:
            return stack.enter_context(serving(database, **options))

        yield start
