"""Logging as it was, after something in this process has set it up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog


@contextmanager
def logging_kept() -> Iterator[None]:
    """What is set up inside ends here, and no logger remembers it: later tests capture what is logged.

    The product's loggers keep what they find when they are used first, `capture_logs` changes only what is set up
    when it begins, and tests come in any order.
    """
    usual, configure = structlog.get_config(), structlog.configure
    root, ours = logging.getLogger(), logging.getLogger("collector")
    handlers, levels = root.handlers[:], (root.level, ours.level)

    def forgetful(**config: Any) -> None:
        configure(**config | {"cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", forgetful)
        try:
            yield
        finally:
            configure(**usual)
            root.handlers[:] = handlers
            for one, level in zip((root, ours), levels, strict=True):
                one.setLevel(level)
