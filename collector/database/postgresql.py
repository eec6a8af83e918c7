"""Opening PostgreSQL 14 and later: read committed.

Time-outs are set per transaction, because a pooler may give each transaction another session.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import Dialect, ExceptionContext

from collector.database import timeouts
from collector.database.sessions import (
    MIGRATION_LOCK,
    is_of_a_standby,
    lossy_encoding,
    opening,
    speak_plainly,
)
from collector.database.silence import ImpatientConnection
from collector.database.url import place
from collector.errors import DatabaseError


def open_postgresql(url: sa.URL, *, read_only: bool) -> sa.Engine:
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        connect_args={
            "prepare_threshold": None,
            "client_encoding": "UTF8",  # overrides the role, the environment and the URL
            "connect_timeout": timeouts.CONNECT_SECONDS,
            "application_name": "gcore-collector",
            # The system's defaults are two hours and a quarter of an hour.
            "keepalives_idle": timeouts.NETWORK_SECONDS // 3,
            "keepalives_interval": timeouts.NETWORK_SECONDS // 3,
            "keepalives_count": 2,
            "tcp_user_timeout": timeouts.NETWORK_SECONDS * 1000,
        },
    )

    @event.listens_for(engine, "do_connect")
    def connect(_: Dialect, __: Any, arguments: Any, parameters: Any) -> ImpatientConnection:
        try:
            raw = ImpatientConnection.connect(*arguments, **parameters)
        except UnicodeError:  # an empty or a very long part between two dots
            raise DatabaseError(f"the database {place(url)} can't be used: that is not a host name") from None
        raw.patience = timeouts.CONNECT_SECONDS
        speak_plainly(raw)
        return raw

    @event.listens_for(engine, "handle_error")
    def leave_a_standby(context: ExceptionContext) -> None:
        # Otherwise its sessions would be used again after another of the hosts has become the primary.
        context.is_disconnect |= is_of_a_standby(context.original_exception, context.statement)

    @event.listens_for(engine, "checkin")
    def checkin(raw: ImpatientConnection | None, _: Any) -> None:
        if raw is not None:
            raw.patience = timeouts.CONNECT_SECONDS  # for the check at its next use

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        # A query or a migration may take long, but an unanswered poll must be given up.
        is_long = read_only or connection.get_execution_options().get("migrates")
        raw.patience = None if is_long else timeouts.SILENCE_SECONDS
        options = connection.get_execution_options()
        changes = options.get("writes") or options.get("migrates")
        if changes and (lossy := lossy_encoding(raw)):
            raise DatabaseError(lossy)
        limits = {"lock_timeout": f"{timeouts.LOCK_SECONDS}s"}
        if options.get("writes"):
            limits = {
                "lock_timeout": f"{timeouts.lock_milliseconds(options)}ms",
                "statement_timeout": f"{timeouts.STATEMENT_SECONDS}s",
                "idle_in_transaction_session_timeout": f"{timeouts.IDLE_SECONDS}s",
                # The other time-outs don't end while the server can't deliver its answer.
                "tcp_user_timeout": f"{timeouts.NETWORK_SECONDS}s",
            }
        connection.exec_driver_sql(
            opening(reads=not changes, timeouts=limits, server_version=raw.info.server_version)
        )
        if options.get("migrates"):  # one migration at a time, however long each takes
            connection.exec_driver_sql(
                f"SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); "
                f"SET LOCAL lock_timeout = '{timeouts.LOCK_SECONDS}s'"
            )

    return engine
