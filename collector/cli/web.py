"""`collector web`, and how `collector run` serves pages beside its polls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from collector.cli.common import log_options, settings_of
from collector.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from collector.service.view import View
    from collector.settings.models import Settings
    from collector.web.server import Server


@click.command()
@click.option("--bind", metavar="ADDRESS:PORT", help="Serve here; also COLLECTOR_HTTP_BIND.")
@log_options
@click.pass_context
def web(context: click.Context, bind: str | None, log_level: Any, log_format: Any) -> None:
    """Serve the pages without polling, until SIGTERM or SIGINT.

    This is for a reporting database or a copied file.

    \b
    Example:
      COLLECTOR_DATABASE_URL=sqlite:///collector-demo.db collector web
    """
    from collector import logs
    from collector.spelling import check_bind

    settings = settings_of(context)
    if bind:
        try:
            settings = settings.model_copy(update={"http_bind": check_bind(bind)})
        except ValueError as error:
            raise UsageError(f"--bind {bind!r}: {error}") from None
    if settings.http_bind == "off":
        raise SettingsError(
            "COLLECTOR_HTTP_BIND is off, so there is nothing to serve; name an address with --bind"
        )
    logs.configure(form=log_format or settings.log_format, level=log_level or settings.log_level)
    server = server_of(settings)
    server.serve_until_told()


def server_of(settings: Settings, running: Callable[[], View] | None = None) -> Server:
    """A server of pages for the settings' database, with its own connections. Raises SettingsError."""
    from collector.database.engine import open_engine
    from collector.web.app import Web
    from collector.web.data import Data
    from collector.web.server import Server

    data = Data(
        partial(open_engine, settings.database_url.get_secret_value(), read_only=True),
        threads=settings.http_max_requests,
        seconds=settings.http_time_limit.total_seconds(),
    )
    return Server(Web(data, settings, running=running))
