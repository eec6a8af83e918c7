"""Other people's PostgreSQL: roles, databases and environments that set what we depend on otherwise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit.verify import verify
from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.health import integrity_errors, shape_errors
from collector.database.transactions import migrating, reading, writing
from collector.reports.inventory import RegionFilter, regions_as_of
from collector.store.rederive import rebuild
from collector.store.tables import metadata
from tests.support.builders import answer, body, region
from tests.support.command import Said
from tests.support.command import collector as in_this_process
from tests.support.databases import execute
from tests.support.history import History
from tests.support.loopback import Server, reply

NAME = "Zürich – 東京 \N{ROCKET}"
_numbers = itertools.count(1)

HOSTILE = {
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "extra_float_digits": "-15",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "7s",
    "lock_timeout": "7s",
    "idle_in_transaction_session_timeout": "7s",
    "row_security": "off",
    "quote_all_identifiers": "on",
    "constraint_exclusion": "on",
    "array_nulls": "off",
    "backslash_quote": "off",
    "lc_monetary": "C",
    "xmloption": "document",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "default_statistics_target": "1",
    "client_min_messages": "debug1",
}


def collector(*arguments: str, **settings: str) -> Said:
    said = in_this_process(*arguments, **settings)
    assert "Traceback" not in said.err
    return said


def text(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_roles: list[tuple[sa.URL, str]] = []
"""Roles that the test at hand made, and where."""


@pytest.fixture(autouse=True)
def _leave_no_settings() -> Iterator[None]:
    """The server is that of other tests, too: what its roles begin with is theirs to judge."""
    yield
    while _roles:
        server, role = _roles.pop()
        execute(server, f"ALTER ROLE {quoted(role)} RESET ALL")


def made(server: sa.URL, encoding: str = "UTF8", **settings: str) -> sa.URL:
    """A new database of this encoding, whose owner is a new role with these settings."""
    name = f"machine_{next(_numbers)}"
    role = f"{name}@proj.iam"
    execute(
        server.set(database="postgres"),
        f"CREATE ROLE {quoted(role)} LOGIN",
        f"CREATE DATABASE {name} OWNER {quoted(role)} ENCODING '{encoding}'"
        " LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        *(f"ALTER ROLE {quoted(role)} SET {key} = '{value}'" for key, value in settings.items()),
    )
    _roles.append((server.set(database="postgres"), role))
    return server.set(database=name, username=role)


def live(engine: sa.Engine) -> list[dict[str, Any]]:
    """Some history; returns what a person is shown of it."""
    history = History(engine)
    history.poll([region(1, display_name=NAME), region(2, slug="a\\b'c")], at=0)
    history.poll([region(1, "MAINTENANCE", display_name=NAME), region(2)], at=60)
    history.poll([region(1, display_name=NAME.upper()), region(2)], at=120.000001)
    history.restart()
    assert verify(engine, "gcore").verdict == "good"
    assert not rebuild(engine, "gcore", check_only=True).different
    with reading(engine) as connection:
        assert not integrity_errors(connection, metadata, thorough=True)
        assert not shape_errors(connection, metadata)
        rows = list(regions_as_of(connection, history.time(90), RegionFilter()))
        more = connection.exec_driver_sql(
            "SELECT * FROM region_state_intervals WHERE NOT is_open ORDER BY 1, 2, 6"
        )
        rows += [dict(row) for row in more.mappings()]
    return rows


@pytest.mark.long
@pytest.mark.parametrize(
    ("encoding", "settings"),
    [
        ("UTF8", HOSTILE),
        ("SQL_ASCII", {}),
        ("SQL_ASCII", HOSTILE),
        ("UTF8", {"client_encoding": "SQL_ASCII"}),
    ],
)
def test_what_a_role_sets_changes_nothing_that_is_written_or_read(
    postgresql_server: sa.URL,
    encoding: str,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGDATESTYLE", "German")
    expected = open_engine(made(postgresql_server))
    engine = open_engine(made(postgresql_server, encoding, **settings))
    for each in (expected, engine):
        migrate.upgrade(each)
    assert repr(live(engine)) == repr(live(expected))
    engine.dispose()
    expected.dispose()


def test_time_outs_of_a_role_are_ours_in_every_transaction(postgresql_server: sa.URL) -> None:
    """What takes its time, a question or a migration, is cut short by none; a poll by those that it depends on."""
    engine = open_engine(made(postgresql_server, **HOSTILE))
    shown = {}
    for transaction in (reading, migrating, writing):
        with transaction(engine) as connection:
            names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
            shown[transaction] = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
    engine.dispose()
    assert shown == {reading: ["0", "10s", "0"], migrating: ["0", "10s", "0"], writing: ["30s", "10s", "20s"]}


@pytest.mark.parametrize("encoding", ["LATIN1", "LATIN9", "WIN1252", "EUC_JP", "KOI8R"])
def test_a_database_that_cannot_hold_every_name_is_refused_by_all_that_write_and_by_doctor(
    postgresql_server: sa.URL, encoding: str
) -> None:
    url = text(made(postgresql_server, encoding))
    settings = {"database_url": url, "api_key": "k", "base_url": "http://127.0.0.1:1"}
    for command in (("poll",), ("run",), ("db", "upgrade"), ("poll", "--migrate")):
        said = collector(*command, **settings)
        assert (said.code, said.out) == (2, ""), said
        assert encoding in said.err
        assert "ENCODING 'UTF8'" in said.err
        assert len(said.err.splitlines()) == 1
    said = collector("doctor", "--offline", **settings)
    assert said.code == 1
    assert encoding in said.out


def test_migrate_is_suggested_by_commands_that_have_this_option(postgresql_server: sa.URL) -> None:
    settings = {"database_url": text(made(postgresql_server)), "api_key": "k"}
    why = "the database has no tables yet: run `collector db upgrade`"
    for command in ("poll", "run", "webhooks retry", "db rebuild", "db redact results[].notes"):
        said = collector(*command.split(), **settings)
        has_it = command in ("poll", "run")
        assert (said.code, why in said.err, "--migrate" in said.err) == (2, True, has_it), said


def test_a_role_that_does_not_own_its_database_learns_who_must(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server)
    database, role = quoted(str(url.database)), quoted(str(url.username))
    owner = postgresql_server.set(database=url.database)
    execute(
        owner,
        f"ALTER DATABASE {database} OWNER TO CURRENT_USER",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    said = collector("db", "upgrade", database_url=text(url))
    said.refused(1, "permission denied for schema public; ", "ALTER DATABASE … OWNER TO …")
    assert "LINE" not in said.err
    execute(owner, f"ALTER DATABASE {database} OWNER TO {role}")
    assert collector("db", "upgrade", database_url=text(url)).code == 0


def test_an_upgrade_of_postgresql_names_no_copy(postgresql_server: sa.URL) -> None:
    url = text(made(postgresql_server))
    said = collector("status", database_url=url)
    said.refused(2, "is empty; `collector db upgrade` creates its tables, then `collector poll` fills it")
    assert collector("db", "upgrade", database_url=url).code == 0
    engine = open_engine(url)
    migrate.downgrade(engine, "0010")
    engine.dispose()
    said = collector("db", "upgrade", database_url=url)
    assert (said.code, said.err) == (0, f"upgrading the schema from 0010 to {migrate.newest_revision()}\n")


@pytest.mark.parametrize(
    "schema",
    [
        "Inv",
        "in\"v'; --",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("svc@proj.iam", "select", "a b", "Büro", "x" * 63)
        ),
    ],
)
def test_a_schema_may_have_any_name(postgresql_server: sa.URL, schema: str) -> None:
    url = made(postgresql_server)
    literal = quoted(schema).replace("%", "%%")
    execute(url, f"CREATE SCHEMA {literal}", f"ALTER ROLE CURRENT_USER SET search_path = {literal}")
    with Server(reply(body=body(answer([region(1, display_name=NAME)])))) as server:
        settings = {"database_url": text(url), "api_key": "k", "base_url": server.url}
        for command in (
            ("db", "upgrade"),
            ("db", "upgrade"),
            ("poll",),
            ("doctor",),
            ("db", "check"),
            ("audit", "verify"),
        ):
            said = collector(*command, **settings)
            assert said.code == 0, (command, said)
        assert NAME in collector("regions", **settings).out


def test_the_schema_of_the_role_is_used_where_there_is_one(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server)
    execute(url, "CREATE SCHEMA AUTHORIZATION CURRENT_USER")
    engine = open_engine(url)
    migrate.upgrade(engine)
    with reading(engine) as connection:
        schema = connection.exec_driver_sql(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tableowner = CURRENT_USER"
        )
        assert schema.scalars().all() == [url.username]
    assert len(live(engine)) > 2
    engine.dispose()


def test_a_search_path_without_a_schema_is_named(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server, search_path="nowhere")
    settings = {"database_url": text(url), "api_key": "k"}
    for command in (("poll",), ("db", "upgrade"), ("run", "--migrate")):
        said = collector(*command, **settings)
        assert said.code == 2
        assert "search path (nowhere)" in said.err
    assert "search path (nowhere)" in collector("doctor", "--offline", **settings).out
    collector("regions", **settings).refused(2, "search path (nowhere)")


def test_a_search_path_that_begins_with_a_schema_of_postgresql_is_named(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server)
    settings = {"database_url": text(url), "api_key": "k"}
    assert collector("db", "upgrade", **settings).code == 0
    engine = open_engine(url)
    live(engine)
    engine.dispose()
    admin = url.set(username=postgresql_server.username)
    for path in ("pg_catalog, public", "pg_temp, public"):
        execute(admin, f"ALTER ROLE {quoted(url.username or '')} SET search_path = {path}")
        for command in (("poll",), ("db", "upgrade"), ("db", "check"), ("audit", "verify")):
            collector(*command, **settings).refused(2, f"search path ({path})")
        assert f"search path ({path})" in collector("doctor", "--offline", **settings).out
        assert NAME.upper() in collector("regions", **settings).out


def test_tables_of_extensions_are_nobodys_and_tables_of_others_are_refused(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server)
    settings = {"database_url": text(url), "api_key": "k"}
    admin = url.set(username=postgresql_server.username)
    # What CREATE EXTENSION of one with a table of its own leaves.
    execute(
        admin,
        "CREATE TABLE spatial_ref_sys (srid integer)",
        "ALTER EXTENSION plpgsql ADD TABLE spatial_ref_sys",
        "CREATE VIEW pg_stat_statements AS SELECT 1 AS calls",
    )
    assert collector("db", "upgrade", **settings).code == 0
    assert collector("doctor", "--offline", **settings).code == 0
    other = made(postgresql_server)
    execute(other, "CREATE TABLE orders (id integer)")
    settings["database_url"] = text(other)
    for command in (("db", "upgrade"), ("poll",), ("doctor", "--offline")):
        said = collector(*command, **settings)
        assert said.code != 0
        assert "orders" in said.out + said.err


def test_doctor_names_what_the_role_may_not_do(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server)
    engine = open_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    role = f"{url.database}_guest"
    admin = url.set(username=postgresql_server.username)
    execute(admin, f"CREATE ROLE {role} LOGIN")
    settings = {
        "database_url": text(url.set(username=role)),
        "api_key": "k",
        "base_url": "http://127.0.0.1:1",
    }

    def lacks(*statements: str) -> tuple[str, bool]:
        """What doctor names, and whether a poll fails because of that."""
        execute(admin, *statements)
        said = collector("doctor", "--offline", **settings)
        polled = collector("poll", **settings).err
        named = next((line for line in said.out.splitlines() if "lacks" in line), "")
        return named.removeprefix("bad   database: this role lacks "), "permission denied for " in polled

    relations = f"ON ALL TABLES IN SCHEMA public TO {role}"
    assert lacks()[0].startswith("SELECT on ")
    assert lacks(f"GRANT SELECT {relations}") == (
        "INSERT on amendments, INSERT on anchors, INSERT on gaps, and 67 more",
        True,
    )
    assert lacks(f"GRANT INSERT, DELETE {relations}", f"GRANT UPDATE {relations}") == (
        "USAGE on sources_id_seq",
        True,
    )
    assert lacks(f"GRANT USAGE ON SEQUENCE sources_id_seq TO {role}") == ("", False)
    assert lacks(f"REVOKE UPDATE ON sources FROM {role}") == ("UPDATE on sources", True)
    assert lacks(f"GRANT UPDATE {relations}", f"REVOKE SELECT ON coverage_gaps FROM {role}") == (
        "SELECT on coverage_gaps",
        False,
    )
    said = collector("status", **settings)
    said.refused(1, "permission denied for view coverage_gaps; `collector doctor` names")


def test_doctor_names_a_schema_in_which_no_tables_can_be_created(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server)
    execute(
        url.set(username=postgresql_server.username),
        f"ALTER DATABASE {url.database} OWNER TO CURRENT_USER",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    said = collector("doctor", "--offline", database_url=text(url), api_key="k")
    assert said.code == 1
    assert "this role lacks CREATE on schema public" in said.out


def test_a_verification_says_what_it_found_even_if_it_can_not_be_recorded(postgresql_server: sa.URL) -> None:
    url = made(postgresql_server)
    engine = open_engine(url)
    migrate.upgrade(engine)
    live(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE regions SET state = 'WRONG' WHERE id = 1")
    engine.dispose()
    reader = url.set(username=f"{url.database}_reader")
    execute(
        url.set(username=postgresql_server.username),
        f"CREATE ROLE {reader.username} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader.username}",
    )
    said = collector("audit", "verify", "--record", database_url=text(reader))
    assert said.code == 1
    assert "gcore: altered" in said.out
    said.explains("the result was not recorded", "permission denied for table verifications")
