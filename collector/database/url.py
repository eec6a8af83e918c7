"""What a database URL says: which database, which file, which place."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import sqlalchemy as sa

from collector.errors import SettingsError

_SEVERAL_HOSTS = re.compile(r"\A(postgres[\w+]*://(?:[^@/?]*@)?)([^@/?]+,[^@/?]+)(/?[^?]*)\??", re.IGNORECASE)
"""PostgreSQL's own form: `//one:5432,two:5432/name`."""


def parse_url(url: str, what: str = "COLLECTOR_DATABASE_URL") -> sa.URL:
    """Parse a database URL as people write it. Raises SettingsError, which names where it was written (`what`)."""
    url = url.strip()
    if _has_a_bare_at(url):
        raise SettingsError(
            f"{what} has an @ in the wrong place: write each @ in a user name or a password as %40"
        )
    try:
        parsed = sa.make_url(_SEVERAL_HOSTS.sub(_hosts_as_options, url))
    except (sa.exc.ArgumentError, ValueError):
        raise SettingsError(
            f"{what} is not a database URL; write sqlite:///path/to/file.db or postgresql://user@host/name"
        ) from None
    if "\0" in f"{parsed.database}{parsed.host}{parsed.username}{parsed.password}":
        raise SettingsError(f"{what} contains %00, which no name can contain")
    backend = parsed.get_backend_name().lower()
    if backend in ("postgresql", "postgres"):
        # PostgreSQL's own form has the folder of a socket as %2Frun%2Fpostgresql.
        host = unquote(parsed.host) if parsed.host else None
        return parsed.set(drivername="postgresql+psycopg", host=host)
    if backend == "sqlite":
        if parsed.host or parsed.port or parsed.username:
            raise SettingsError(
                f"{what} names a host, but SQLite has none: write sqlite:///collector.db with three slashes, or "
                "four slashes for a path that begins at the root"
            )
        if parsed.query:
            raise SettingsError(
                f"{what}: options in a SQLite URL are not supported; write a ? in a file name as %3F"
            )
        return parsed.set(drivername="sqlite")
    raise SettingsError(f"the database is {backend}; only sqlite and postgresql are supported")


def _hosts_as_options(url: re.Match[str]) -> str:
    """The same URL as SQLAlchemy writes it."""
    hosts = "&".join(f"host={host}" for host in url[2].split(","))
    return f"{url[1]}{url[3]}?{hosts}&"


def _has_a_bare_at(url: str) -> bool:
    """True if there is more than one @, or one among the options: half a password would be taken for a host."""
    rest = url.partition("://")[2]
    before, _, options = rest.partition("?")
    has_path_and_port = "/" in before and ":" in before.partition("/")[0]
    return rest.count("@") > 1 or ("@" in options and has_path_and_port)


def is_sqlite(of: sa.URL | sa.Engine | sa.Connection) -> bool:
    """True for SQLite, False for PostgreSQL."""
    if isinstance(of, sa.URL):
        return of.get_backend_name() == "sqlite"
    return of.dialect.name == "sqlite"


def sqlite_url(path: Path) -> sa.URL:
    """The URL of a SQLite file. Characters with a special meaning in a URL are escaped."""
    return sa.URL.create("sqlite", database=str(path))


def sqlite_path(url: sa.URL | sa.Engine) -> Path | None:
    """The file of a SQLite URL; None for PostgreSQL and for a database in memory."""
    url = url.url if isinstance(url, sa.Engine) else url
    if not is_sqlite(url) or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def is_nowhere(path: Path) -> bool:
    """True if a path is relative to a current folder that was deleted."""
    try:
        return not path.is_absolute() and not Path.cwd()
    except OSError:
        return True


def not_allowed(path: Path) -> str:
    """Why this user can't use a SQLite file, as the end of a sentence; empty if file modes are not the reason."""
    folder, is_there = path.parent, os.path.exists(path)  # noqa: PTH110 - never raises
    if is_there and not os.access(path, os.R_OK):
        return f": this user may not read {path}"
    if is_there and not os.access(path, os.W_OK):
        return f": this user may not write {path}, which also reading needs while no collector runs"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f": this user may not create files in {folder}"
    return ""


def place(url: sa.URL) -> str:
    """A database for people: without user, password and options."""
    if is_sqlite(url):
        return str(url.database or "in memory")
    hosts = url.host or url.query.get("host") or ()
    named = hosts if isinstance(hosts, str) else ", ".join(hosts)
    if not named and (service := url.query.get("service") or os.environ.get("PGSERVICE")):
        named = f"the service {service}"
    return f"{url.database or ''} at {named or os.environ.get('PGHOST') or 'the local socket'}".strip()
