"""Logging, set up once: text for people in a terminal, otherwise JSON lines. One event per line, on stderr.

Every line begins with time, level and event. Times are ISO 8601 in UTC with microseconds, as in JSON answers. Unknown
values are left out. The console form is safe for a terminal, and shortens digests.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from collector.printable import printable

Logger = structlog.stdlib.BoundLogger
Form = Literal["auto", "console", "json"]
Level = Literal["debug", "info", "warning", "error"]

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_FIRST = ("timestamp", "level", "event")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHORT_DIGEST = 12


def configure(*, form: Form = "auto", level: Level = "info") -> None:
    """Set up all logging of the process. `auto`: console if stderr is a terminal, otherwise JSON."""
    is_console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt=_TIME, utc=True),
        structlog.processors.format_exc_info,
        _in_order,
    ]
    rendering: list[Any] = (
        [_for_a_terminal, structlog.dev.ConsoleRenderer(colors=_wants_colours(), sort_keys=False)]
        if is_console
        else [structlog.processors.JSONRenderer(sort_keys=False)]
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries log addresses, which may be secrets: only our own log has a level below warning.
    root.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))
    logging.getLogger("collector").setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "urllib3", "apscheduler", "alembic", "psycopg"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)


def _in_order(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The fixed fields first, then the facts in the order in which they were given, without unknown ones."""
    first = {name: event[name] for name in _FIRST if name in event}
    return first | {n: _plain(v) for n, v in event.items() if n not in first and v is not None}


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).strftime(_TIME) if isinstance(value, datetime) else value


def _for_a_terminal(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No text may move a cursor or forge another line; a digest is as short as in `git log`."""
    return {
        (name if name.startswith("_") else printable(name)): _harmless(name, value)
        for name, value in event.items()
    }


def _harmless(name: str, value: Any) -> Any:
    if isinstance(value, str):
        if name == "exception":
            return "\n".join(printable(line) for line in value.split("\n"))
        return value[:_SHORT_DIGEST] if _DIGEST.fullmatch(value) else printable(value)
    if isinstance(value, bool | int | float) or name.startswith("_"):
        return value
    return printable(str(value))


def _wants_colours() -> bool:
    if not sys.stderr.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown", "")


def logger(name: str) -> Logger:
    """A logger. Values are given as keywords: `log.info("poll", source="gcore")`."""
    log: Logger = structlog.stdlib.get_logger(name)
    return log
