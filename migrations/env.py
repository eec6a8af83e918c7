"""Runs migrations on the given connection, or on the configured database.

Views are not versioned. They are removed before a downgrade, and their newest text is installed after an upgrade to
the newest revision. No version imports the live tables, and neither does this file.
"""

import sqlalchemy as sa
from alembic import context

from collector.database.engine import open_engine
from collector.database.transactions import migrating
from collector.reports import views
from collector.settings.loading import load


def direction() -> str | None:
    """`upgrade`, `downgrade`, or None for commands that only read."""
    command = getattr(context.config.cmd_opts, "cmd", None)
    return context.config.attributes.get("direction") or (command and command[0].__name__)


def migrate(connection: sa.Connection) -> None:
    if direction() == "downgrade":
        views.drop(connection)
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
    is_newest = context.get_context().get_current_revision() == context.script.get_current_head()
    if direction() == "upgrade" and is_newest:
        views.install(connection)


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with migrating(open_engine(load().database_url.get_secret_value())) as own:
        migrate(own)
