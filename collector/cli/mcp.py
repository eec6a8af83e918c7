"""`collector mcp`: questions of language models."""

from __future__ import annotations

import os
import signal
from functools import partial

import click

from collector.cli.common import settings_of
from collector.clock import utc_now
from collector.errors import UsageError


@click.command()
@click.pass_context
def mcp(context: click.Context) -> None:
    """Answer questions of language models.

    It speaks the Model Context Protocol and uses standard input and output. A client starts it. It only reads the
    database, and ends when its input ends, or by SIGTERM or SIGINT. It needs the extra `mcp`.

    \b
    Example:
      COLLECTOR_DATABASE_URL=sqlite:////srv/collector.db collector mcp
    """
    from collector.database.engine import open_engine

    try:
        from collector.mcp.server import Questions, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise UsageError(
            "this needs the package mcp, which is not installed: pip install 'gcore-collector[mcp]'"
        ) from None
    # It only reads, so it ends at once: a thread that waits for input would hold it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    url = settings_of(context).database_url.get_secret_value()
    serve(Questions(partial(open_engine, url, read_only=True), utc_now))
