"""What tests share so that each costs less: compiled statements, and a PostgreSQL database of the worker's own.

Neither changes what a test sees. To make a database takes half a second, to compile the statements of one poll a
tenth, and there are thousands of tests.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

_compiled: LRUCache[Any, Any] = LRUCache(5000)


def share_compiled_statements() -> None:
    """All engines of this process compile a statement once: dialects of one kind make the same text of it."""

    def is_alike(one: DefaultDialect, other: object) -> bool:
        return type(one) is type(other)

    DefaultDialect.__eq__ = is_alike  # type: ignore[method-assign, assignment]
    DefaultDialect.__hash__ = lambda dialect: hash(type(dialect))  # type: ignore[method-assign]
    sa.event.listen(sa.Engine, "engine_connect", _use_them)


def _use_them(connection: sa.Connection) -> None:
    connection.engine._compiled_cache = _compiled


CATALOG = """
SELECT string_agg(part, ' ') FROM (
    SELECT count(*) || ':' || max(xmin::text::bigint) AS part FROM pg_class
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_attribute
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_constraint
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_description
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_index
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_namespace
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_policy
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_proc
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_rewrite
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_trigger
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_extension
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_event_trigger
    UNION ALL SELECT count(*) || ':' || max(xmin::text::bigint) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT datallowconn || ':' || xmin FROM pg_database WHERE datname = current_database()
) AS catalogs
"""
"""Different after every statement that changes what there is in a database, and after none that changes rows."""


class ReusedDatabase:
    """A PostgreSQL database that every test finds as the template is.

    Rows are deleted and put back; where anything else was changed, the database is made again.
    """

    def __init__(self, template: sa.URL, name: str) -> None:
        self._template = template
        self.url = template.set(database=name)
        self._catalog: str | None = None
        self._rows: dict[str, tuple[str, list[Any]]] = {}

    def renew(self) -> sa.URL:
        if self._catalog is None or not self._renewed():
            self._make()
        return self.url

    def _make(self) -> None:
        name = self.url.database
        with _admin(self._template.set(database="postgres")) as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {self._template.database}")
        with _admin(self.url) as connection:
            self._catalog = connection.exec_driver_sql(CATALOG).scalar()
            if not self._rows:
                self._keep_rows(connection)

    def _keep_rows(self, connection: sa.Connection) -> None:
        """In the order in which the tables were made: parents come first."""
        tables = connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY oid"
        ).scalars()
        for table in tables.all():
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}")
            places = ", ".join(["%s"] * len(rows.keys()))
            self._rows[table] = (f"INSERT INTO {table} VALUES ({places})", [tuple(row) for row in rows])

    def _renewed(self) -> bool:
        """True if the rows could be restored, because nobody else is connected and only rows have changed."""
        try:
            with _admin(self.url) as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                if connection.exec_driver_sql(CATALOG).scalar() != self._catalog:
                    return False
                deletes = "; ".join(f"DELETE FROM {table}" for table in self._rows)
                connection.exec_driver_sql(f"BEGIN; SET LOCAL session_replication_role = replica; {deletes}")
                for insert, rows in self._rows.values():
                    if rows:
                        connection.exec_driver_sql(insert, rows)
                connection.exec_driver_sql(
                    "SELECT setval('sources_id_seq', greatest(1, (SELECT max(id) FROM sources)), "
                    "(SELECT count(*) > 0 FROM sources)); COMMIT"
                )
        except sa.exc.DBAPIError:
            return False
        return True


def _admin(url: sa.URL) -> Any:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    return engine.connect()
