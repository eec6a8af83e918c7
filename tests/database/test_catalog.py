"""Whatever hangs on our tables and was not put there by the migrations is found.

python -m tests.database.test_catalog --write      after a migration: the snapshot of PostgreSQL's catalog
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.audit.verify import verify_database
from collector.database import catalog, migrate
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports import views
from collector.store.tables import metadata
from tests.support.databases import a_postgresql_server, new_database, postgresql_program
from tests.support.deployed import run

SNAPSHOT = Path(catalog.__file__).with_name("catalog.json")


def snapshot_of(url: sa.URL) -> str:
    engine = open_engine(url)
    migrate.upgrade(engine)
    with reading(engine) as connection:
        found = catalog.postgresql(connection, metadata, views.NAMES, views.FUNCTIONS)
    engine.dispose()
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def test_the_snapshot_is_what_the_migrations_make(postgresql_server: sa.URL) -> None:
    made = snapshot_of(new_database(postgresql_server))
    assert made == SNAPSHOT.read_text(encoding="utf-8"), "run `python -m tests.database.test_catalog --write`"


def errors_after(engine: sa.Engine, *statements: str) -> list[str]:
    """What is found after these statements, which are undone."""
    with engine.connect() as connection, connection.begin() as transaction:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
        found = catalog.catalog_errors(connection, metadata, views.NAMES, views.FUNCTIONS)
        found = found or views.altered(connection)  # which takes much longer
        transaction.rollback()
    return found


@pytest.fixture(scope="module")
def postgresql(postgresql_template: sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(new_database(postgresql_template, postgresql_template.database))
    yield engine
    engine.dispose()


STRANGE = {
    "a check marked valid by hand": (
        "ALTER TABLE regions ADD CONSTRAINT hides CHECK (id <> 3) NOT VALID",
        "UPDATE pg_constraint SET convalidated = TRUE WHERE conname = 'hides'",
    ),
    "a child": ("CREATE TABLE child () INHERITS (regions)",),
    "a parent": ("CREATE TABLE parent (id bigint NOT NULL)", "ALTER TABLE regions INHERIT parent"),
    "an unlogged table": ("ALTER TABLE schema_drift SET UNLOGGED",),
    "a default": ("ALTER TABLE regions ALTER COLUMN state SET DEFAULT 'ACTIVE'",),
    "a rule": ("CREATE RULE away AS ON INSERT TO regions DO INSTEAD NOTHING",),
    "a rule on a view": ("CREATE RULE away AS ON INSERT TO current_regions DO INSTEAD NOTHING",),
    "a trigger": (
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER away BEFORE INSERT ON regions FOR EACH ROW EXECUTE FUNCTION nothing()",
    ),
    "triggers that are off": ("ALTER TABLE observations DISABLE TRIGGER ALL",),
    "a policy": ("CREATE POLICY hides ON regions USING (id <> 3)",),
    "row security": ("ALTER TABLE regions ENABLE ROW LEVEL SECURITY",),
    "an index more": ("CREATE INDEX more ON regions (state)",),
    "an index less": ("DROP INDEX ix_state_transitions_observed_at",),
    "an invalid index": (
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'ix_state_transitions_observed_at'::regclass",
    ),
    "a key less": ("ALTER TABLE sources DROP CONSTRAINT uq_sources_name",),
    "another check": (
        "ALTER TABLE observations DROP CONSTRAINT ck_observations_polls",
        "ALTER TABLE observations ADD CONSTRAINT ck_observations_polls CHECK (polls >= 0)",
    ),
    "a key that deletes": (
        "ALTER TABLE observers DROP CONSTRAINT fk_observers_source_id",
        "ALTER TABLE observers ADD CONSTRAINT fk_observers_source_id FOREIGN KEY (source_id)"
        " REFERENCES sources (id) ON DELETE CASCADE",
    ),
    "an optional column": ("ALTER TABLE regions ALTER COLUMN state DROP NOT NULL",),
    "a column more": ("ALTER TABLE regions ADD COLUMN note text",),
    "a sequence that turns": ("ALTER SEQUENCE sources_id_seq CYCLE",),
    "an event trigger": (
        "CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER away ON ddl_command_end EXECUTE FUNCTION nothing()",
    ),
    "an operator": (
        "CREATE FUNCTION never(text, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT FALSE'",
        "CREATE OPERATOR = (LEFTARG = text, RIGHTARG = bigint, FUNCTION = never)",
    ),
    "an operator elsewhere on the path": (
        "CREATE SCHEMA elsewhere",
        "CREATE FUNCTION elsewhere.never(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT FALSE'",
        "CREATE OPERATOR elsewhere.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = elsewhere.never)",
        "SET LOCAL search_path = public, elsewhere, pg_catalog",
    ),
    "a function elsewhere on the path": (
        "CREATE SCHEMA elsewhere",
        "CREATE FUNCTION elsewhere.lower(text) RETURNS text LANGUAGE sql AS 'SELECT NULL'",
        "SET LOCAL search_path = public, elsewhere, pg_catalog",
    ),
    "a type elsewhere on the path": (
        "CREATE SCHEMA elsewhere",
        "CREATE DOMAIN elsewhere.timestamptz AS text",
        "SET LOCAL search_path = public, elsewhere, pg_catalog",
    ),
    "an operator among PostgreSQL's own": (
        "CREATE FUNCTION never(timestamptz, text) RETURNS boolean LANGUAGE sql AS 'SELECT FALSE'",
        "CREATE OPERATOR pg_catalog.<= (LEFTARG = timestamptz, RIGHTARG = text, FUNCTION = never)",
    ),
    "a function among PostgreSQL's own": (
        "CREATE FUNCTION pg_catalog.length(varchar) RETURNS integer LANGUAGE sql AS 'SELECT 0'",
    ),
    "another table first": ("CREATE TEMPORARY TABLE regions (id bigint)",),
    "nulls that are equal": ("ALTER DATABASE CURRENT_NAME SET transform_null_equals = on",),
    "damaged pages read as empty": ("ALTER DATABASE CURRENT_NAME SET zero_damaged_pages = on",),
    "constraints that are not checked": ("ALTER ROLE CURRENT_USER SET session_replication_role = replica",),
}


def view_of(name: str, where: str) -> str:
    """Our view, but not all of it."""
    return f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM ({views.definition(name, 'postgresql')}) x WHERE {where}"


AS_OF = views.definition("regions_as_of", "postgresql")
STRANGE |= {
    "a view that hides a row": (view_of("current_regions", "region_id <> 3"),),
    "a view that hides a row from some": (view_of("region_state_spans", "CURRENT_USER <> 'analyst'"),),
    "a view that says another time": (
        "CREATE OR REPLACE VIEW coverage_gaps AS "
        + views.definition("coverage_gaps", "postgresql").replace("2.5", "25"),
    ),
    "a view that takes one observation for another": (
        "CREATE OR REPLACE VIEW region_state_spans AS "
        + views.definition("region_state_spans", "postgresql").replace(
            "THEN f.expected_interval_ms ELSE o.expected_interval_ms",
            "THEN o.expected_interval_ms ELSE f.expected_interval_ms",
        ),
    ),
    "a view that asks a function that is worked out before": (
        "CREATE FUNCTION allowed() RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT TRUE'",
        view_of("current_regions", "allowed()"),
    ),
    "a view of another table": (
        "CREATE TABLE mine AS SELECT * FROM schema_drift",
        view_of("current_regions", "NOT EXISTS (SELECT FROM mine)"),
    ),
    "columns of a view that swapped their names": (
        "ALTER VIEW current_regions RENAME zone TO x",
        "ALTER VIEW current_regions RENAME country TO zone",
        "ALTER VIEW current_regions RENAME x TO country",
    ),
    "a column of a view that has another name": ("ALTER VIEW poll_health RENAME day TO today",),
    "a view that is kept": (
        "DROP VIEW poll_health",
        "CREATE MATERIALIZED VIEW poll_health AS " + views.definition("poll_health", "postgresql"),
    ),
    "a view that asks as who asks": ("ALTER VIEW current_regions SET (security_invoker = on)",),
    "a view that is off": (
        "UPDATE pg_rewrite SET ev_enabled = 'D' WHERE ev_class = 'current_regions'::regclass",
    ),
    "a trigger on a view": (
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER away INSTEAD OF INSERT ON current_regions FOR EACH ROW EXECUTE FUNCTION nothing()",
    ),
    "a function that says less": (AS_OF.replace("<= moment", "< moment", 1),),
    "a function that says nothing": (AS_OF.rpartition(";\nEND")[0] + " LIMIT 0;\nEND",),
    "a function as its owner": ("ALTER FUNCTION regions_as_of SECURITY DEFINER",),
    "a function that looks elsewhere": ("ALTER FUNCTION regions_as_of SET search_path = elsewhere",),
    "a function that changes its mind": ("ALTER FUNCTION regions_as_of VOLATILE",),
    "a function for text, too": (
        "CREATE FUNCTION regions_as_of(moment text) RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
    ),
    "a function of one of PostgreSQL's names": (
        "CREATE FUNCTION lower(bigint) RETURNS text LANGUAGE sql AS 'SELECT NULL'",
    ),
    "a type of one of PostgreSQL's names": ("CREATE DOMAIN timestamptz AS text",),
    "a cast": (
        "CREATE FUNCTION nothing(text) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 3'",
        "CREATE CAST (text AS bigint) WITH FUNCTION nothing(text) AS IMPLICIT",
    ),
    "a view in a table's place": (
        "ALTER TABLE schema_drift RENAME TO hidden",
        "CREATE VIEW schema_drift AS SELECT * FROM hidden WHERE kind <> 'unknown_field'",
    ),
    "a partitioned table in a table's place": (
        "ALTER TABLE schema_drift RENAME TO hidden",
        "CREATE TABLE schema_drift (LIKE hidden INCLUDING ALL) PARTITION BY RANGE (source_id)",
    ),
    "a column that is worked out": (
        "ALTER TABLE schema_drift DROP COLUMN kind CASCADE",
        "ALTER TABLE schema_drift ADD COLUMN kind text NOT NULL GENERATED ALWAYS AS ('type') STORED",
    ),
    "a column of another's type": (
        "CREATE DOMAIN word AS text",
        "ALTER TABLE payloads ALTER COLUMN address TYPE word",
    ),
    "columns that swapped their names": (
        "ALTER TABLE regions RENAME slug TO x",
        "ALTER TABLE regions RENAME display_name TO slug",
        "ALTER TABLE regions RENAME x TO display_name",
    ),
    "a column that sorts otherwise": (
        'ALTER TABLE webhook_deliveries ALTER COLUMN receiver TYPE text COLLATE "C"',
    ),
    "a number that is always given": (
        "ALTER TABLE sources ALTER COLUMN id DROP DEFAULT",
        "ALTER TABLE sources ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY",
    ),
    "an index of some rows": (
        "DROP INDEX ix_state_transitions_observed_at",
        "CREATE INDEX ix_state_transitions_observed_at ON state_transitions (source_id, observed_at)"
        " WHERE entity = 'region'",
    ),
    "an index by another's order": (
        "CREATE FUNCTION turned(bigint, bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT btint8cmp($2, $1)'",
        "CREATE OPERATOR CLASS turned FOR TYPE bigint USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =,"
        " OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 turned(bigint, bigint)",
        "UPDATE pg_index SET indclass = array_to_string(ARRAY(SELECT CASE x WHEN o.old THEN o.new ELSE x END"
        " FROM unnest(indclass) x), ' ')::oidvector"
        " FROM (SELECT (SELECT oid FROM pg_opclass WHERE opcname = 'turned') AS new,"
        " (SELECT oid FROM pg_opclass WHERE opcname = 'int8_ops' AND opcmethod = 403) AS old) o"
        " WHERE indexrelid = 'pk_regions'::regclass",
    ),
    "a reference that is not checked": (
        "UPDATE pg_constraint SET convalidated = FALSE WHERE conname = 'fk_observers_source_id'",
    ),
    "a reference that waits": (
        "ALTER TABLE observers ALTER CONSTRAINT fk_observers_source_id DEFERRABLE INITIALLY DEFERRED",
    ),
    "a constraint that is a trigger": (
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE CONSTRAINT TRIGGER away AFTER INSERT ON regions FOR EACH ROW EXECUTE FUNCTION nothing()",
    ),
    "an event trigger on what is dropped": (
        "CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER away ON sql_drop EXECUTE FUNCTION nothing()",
        "ALTER EVENT TRIGGER away ENABLE REPLICA",
    ),
    "row security that holds for the owner": ("ALTER TABLE regions FORCE ROW LEVEL SECURITY",),
}
HARMLESS = {
    "nothing": (),
    "functions, types and casts of others": (
        "CREATE FUNCTION mine(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT TRUE'",
        "CREATE DOMAIN word AS text",
        "CREATE TYPE pair AS (one bigint, other bigint)",
        "CREATE FUNCTION of_pair(pair) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT NULL'",
        "CREATE CAST (pair AS text) WITH FUNCTION of_pair(pair)",
    ),
    "what others see of our views and functions": (
        "CREATE FUNCTION mine(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT TRUE'",
        "CREATE VIEW mine AS SELECT r.* FROM current_regions r JOIN regions_as_of('2026-05-01') USING (region_id)"
        " WHERE mine(region_id)",
    ),
    "functions, operators and types of others off the path": (
        "CREATE SCHEMA elsewhere",
        "CREATE FUNCTION elsewhere.lower(text) RETURNS text LANGUAGE sql AS 'SELECT NULL'",
        "CREATE FUNCTION elsewhere.never(text, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT FALSE'",
        "CREATE OPERATOR elsewhere.= (LEFTARG = text, RIGHTARG = bigint, FUNCTION = elsewhere.never)",
        "CREATE DOMAIN elsewhere.timestamptz AS text",
    ),
    "tables of others that have the names of types": (
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.path (id bigint)",
        "SET LOCAL search_path = public, elsewhere",
    ),
    "numbers of questions": ("SET compute_query_id = on",),
    "names in quotes": (
        "ALTER DATABASE CURRENT_NAME SET quote_all_identifiers = on",
        "SET quote_all_identifiers = on",
    ),
    "formats": (
        "ALTER DATABASE CURRENT_NAME SET DateStyle = 'SQL, DMY'",
        "ALTER ROLE CURRENT_USER SET bytea_output = 'escape'",
    ),
    "sessions as another role": ("ALTER ROLE CURRENT_USER SET role = 'pg_read_all_data'",),
    "planning": ("ALTER DATABASE CURRENT_NAME SET constraint_exclusion = on",),
    "parallel workers": (
        "SET parallel_setup_cost = 0",
        "SET parallel_tuple_cost = 0",
        "SET min_parallel_table_scan_size = 0",
    ),
    "tables and views of others": (
        "CREATE TABLE notes (id bigint PRIMARY KEY, region_id bigint)",
        "CREATE VIEW mine AS SELECT * FROM regions WHERE id = 3",
    ),
    "another's table that refers to ours": (
        "CREATE TABLE mine (source_id int, region_id bigint,"
        " FOREIGN KEY (source_id, region_id) REFERENCES regions (source_id, id))",
    ),
    "storage": ("ALTER TABLE regions SET (fillfactor = 70)", "ALTER TABLE regions REPLICA IDENTITY FULL"),
    "grants and comments": ("GRANT SELECT ON regions TO PUBLIC", "COMMENT ON TABLE regions IS 'mine'"),
}


def named(engine: sa.Engine, statements: tuple[str, ...]) -> list[str]:
    return [s.replace("CURRENT_NAME", f'"{engine.url.database}"') for s in statements]


@pytest.mark.parametrize("name", STRANGE)
def test_what_hangs_on_our_tables_in_postgresql_is_found(postgresql: sa.Engine, name: str) -> None:
    assert errors_after(postgresql, *named(postgresql, STRANGE[name])) != []


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_no_answer_is_no_damage(postgresql: sa.Engine, name: str) -> None:
    assert errors_after(postgresql, *named(postgresql, HARMLESS[name])) == []


SQLITE_STRANGE = {
    "a trigger": "CREATE TRIGGER away BEFORE INSERT ON regions BEGIN SELECT RAISE(IGNORE); END",
    "a trigger on a view": "CREATE TRIGGER away INSTEAD OF INSERT ON current_regions BEGIN SELECT 1; END",
    "an index more": "CREATE INDEX more ON regions (state)",
    "an index less": "DROP INDEX ix_state_transitions_observed_at",
    "a column more": "ALTER TABLE regions ADD COLUMN note TEXT",
    "a table less": "DROP TABLE schema_drift",
}


def test_what_a_dump_brings_back_is_no_damage(postgresql_server: sa.URL, tmp_path: Path) -> None:
    """Names of tables within views, and brackets, are other ones then."""
    origin, copy = new_database(postgresql_server), new_database(postgresql_server)
    engine = open_engine(origin)
    migrate.upgrade(engine)
    engine.dispose()
    one, other = (
        url.set(drivername="postgresql").render_as_string(hide_password=False) for url in (origin, copy)
    )
    run(postgresql_program("pg_dump"), "-Fc", "-f", tmp_path / "dump", one)
    run(postgresql_program("pg_restore"), "--no-owner", "--exit-on-error", "-d", other, tmp_path / "dump")
    engine = open_engine(copy)
    with reading(engine) as connection:
        assert catalog.catalog_errors(connection, metadata, views.NAMES, views.FUNCTIONS) == []
        assert views.altered(connection) == []
    engine.dispose()


@pytest.mark.parametrize(
    ("expression", "flat"),
    [
        ("(((a >= 0) AND (a <= 16)) AND (b))", "((a >= 0) AND (a <= 16) AND (b))"),
        ("((c) AND ((a) AND (b)))", "((c) AND (a) AND (b))"),
        ("(((a) AND (b)) OR (c))", "(((a) AND (b)) OR (c))"),
        ("((c) OR ((a) AND (b)))", "((c) OR ((a) AND (b)))"),
        ("(NOT ((a) AND (b)))", "(NOT ((a) AND (b)))"),
        ("(((a) AND (b)) = (c))", "(((a) AND (b)) = (c))"),
        ("((x ~ '((a) AND (b)) AND ('::text) AND (c))", "((x ~ '((a) AND (b)) AND ('::text) AND (c))"),
    ],
)
def test_only_brackets_that_mean_nothing_are_left_out(expression: str, flat: str) -> None:
    assert catalog.flattened(expression) == flat


@pytest.mark.parametrize("name", SQLITE_STRANGE)
def test_what_hangs_on_our_tables_in_sqlite_is_found(
    sqlite_template: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{path}")
    assert verify_database(engine, views.NAMES) == []
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE VIEW mine AS SELECT * FROM regions")
    assert verify_database(engine, views.NAMES) == []
    with engine.begin() as connection:
        connection.exec_driver_sql(SQLITE_STRANGE[name])
    assert verify_database(engine, views.NAMES) != []
    engine.dispose()


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    with tempfile.TemporaryDirectory() as folder, a_postgresql_server(Path(folder)) as server:
        SNAPSHOT.write_text(snapshot_of(new_database(server)), encoding="utf-8")
