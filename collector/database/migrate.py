"""Brings the schema up to date. The same migrations serve a checkout and an installed wheel.

Every command needs the database's revision and the newest one, so Alembic is imported only by commands that change
the schema.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from collector.database.sessions import check_path, tables_of_extensions
from collector.database.transactions import migrating, reading
from collector.database.url import sqlite_path
from collector.errors import DatabaseError, SchemaError

if TYPE_CHECKING:
    from alembic.config import Config


def _folder() -> Path:
    """Inside the package if installed, beside it in a checkout."""
    package = Path(str(resources.files("collector")))
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def newest_revision() -> str:
    """The revision that this version works with."""
    return _revisions()[-1]


def is_known(revision: str) -> bool:
    """True if this version knows a revision; otherwise a newer version made it."""
    return revision in _revisions()


def _revisions() -> list[str]:
    """All revisions that this version knows, in order: the first four characters of the files' names."""
    return sorted(path.name[:4] for path in (_folder() / "versions").glob("[0-9]*.py"))


def current_revision(engine: sa.Engine) -> str | None:
    """The revision of the database; None for an empty one."""
    with reading(engine) as connection:
        revisions = (
            connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
            if sa.inspect(connection).has_table("alembic_version")
            else []
        )
        if len(revisions) > 1:
            raise SchemaError(
                f"the table alembic_version holds {len(revisions)} revisions ({', '.join(map(str, revisions))}) but "
                "must hold exactly one: delete the wrong rows"
            )
        revision = str(revisions[0]) if revisions else None
        foreign = set() if revision else set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
        foreign -= tables_of_extensions(connection) if foreign else set()
        if foreign:
            raise SchemaError(
                f"the database holds tables of another program ({', '.join(sorted(foreign)[:3])}); "
                "give the collector a database of its own, or on PostgreSQL a schema of its own"
            )
        return revision


def check_readable(engine: sa.Engine) -> None:
    """Raise SchemaError, with what to do, if this version can't read the database."""
    revision = current_revision(engine)
    if revision is None:
        with reading(engine) as connection:
            check_path(connection)
        first = "" if sqlite_path(engine) else "`collector db upgrade` creates its tables, then "
        raise SchemaError(f"the database is empty; {first}`collector poll` fills it")
    if revision != newest_revision():
        raise SchemaError(other_schema(revision))


def other_schema(revision: str) -> str:
    """What to do about a schema of another version."""
    newest = newest_revision()
    if is_known(revision):
        return f"the database has schema {revision}, this version needs {newest}: run `collector db upgrade`"
    return (
        f"the database has schema {revision} of a newer version, but this version only knows schemas up to {newest}: "
        "update the collector"
    )


def upgrade(engine: sa.Engine) -> None:
    """Bring tables and views to the newest revision, in one transaction."""
    from alembic import command

    with migrating(engine) as connection:
        config = _config()
        config.attributes.update(connection=connection, direction="upgrade")
        command.upgrade(config, "head")


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Go back to an older revision ('base': empty), in one transaction."""
    from alembic import command

    with migrating(engine) as connection:
        config = _config()
        config.attributes.update(connection=connection, direction="downgrade")
        command.downgrade(config, revision)


def copy_before_upgrade(engine: sa.Engine, revision: str) -> Path | None:
    """Copy a SQLite file beside itself; returns the copy, or None if there is no file to copy.

    The copy is consistent even while others read and write. Raises DatabaseError if there is no room for it.
    """
    path = sqlite_path(engine)
    if path is None or not path.exists() or not path.stat().st_size:
        return None
    copy = path.with_name(f"{path.name}.before-{revision}")
    if shutil.disk_usage(path.parent).free < 2 * path.stat().st_size:
        raise DatabaseError(f"there is no room for a copy of {path} before its schema is changed")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy
