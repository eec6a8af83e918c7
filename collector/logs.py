"""Logging, set up once: for people in a terminal, JSON lines otherwise. One event per line, on stderr."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

Logger = structlog.stdlib.BoundLogger


def configure(*, terminal: bool | None = None) -> None:
    """Set up all logging of the process. `terminal`: None asks stderr."""
    terminal = sys.stderr.isatty() if terminal is None else terminal
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=_wants_colours())
        if terminal
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for chatty in ("httpx", "httpcore", "apscheduler", "alembic", "psycopg"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)


def _wants_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown", "")


def logger(name: str) -> Logger:
    """A logger; values are given as keywords: `log.info("poll", source="gcore")`."""
    log: Logger = structlog.stdlib.get_logger(name)
    return log
