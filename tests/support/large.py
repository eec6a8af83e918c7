"""A long history, written straight into the tables: for plans of queries, which depend on sizes.

Nothing is derived from evidence here, so such a database can only be read.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import migrating
from collector.store.tables import DERIVATION_REVISION

ZERO = "0" * 64


def fill(
    engine: sa.Engine,
    *,
    regions: int,
    transitions: int,
    observations: int,
    gap_every: int,
    start: str = "2020-01-01",
) -> None:
    """One source; `transitions` of each region, spread over all observations, which are a minute apart.

    `start`: a time in UTC. After every `gap_every`-th observation lies a gap of an hour.
    """
    with migrating(engine) as connection:  # as long as it takes
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no foreign keys
        for statement in _statements(
            engine.dialect.name, regions, transitions, observations, gap_every, start
        ):
            connection.exec_driver_sql(
                statement.replace("%", "%%") if engine.dialect.name == "postgresql" else statement
            )
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")  # as autovacuum does; nothing does so on SQLite


def _statements(
    dialect: str, regions: int, transitions: int, observations: int, gap_every: int, start: str
) -> list[str]:
    def at(seconds: str) -> str:
        if dialect == "sqlite":
            return f"strftime('%Y-%m-%dT%H:%M:%S.000000Z', '{start}', '+' || ({seconds}) || ' seconds')"
        return f"TIMESTAMPTZ '{start}Z' + ({seconds}) * INTERVAL '1 second'"

    def numbers(name: str, count: int) -> str:
        return f"WITH RECURSIVE {name}(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM {name} WHERE n < {count}) "

    blob = "x'00'" if dialect == "sqlite" else "'\\x00'::bytea"
    when = f"(o.n * 60 + (o.n - 1) / {gap_every} * 3600)"
    of_step = f"(s.n * {observations // transitions} - {observations // transitions - 1})"
    t_at = f"({of_step} * 60 + ({of_step} - 1) / {gap_every} * 3600)"
    gaps = (observations - 1) // gap_every
    after_gap = f"(g.n * {gap_every} + 1)"
    gap_from = f"(g.n * {gap_every} * 60 + (g.n - 1) * 3600 + 30)"
    gap_until = f"(g.n * {gap_every} * 60 + 60 + g.n * 3600)"
    state = "CASE s.n % 3 WHEN 0 THEN 'MAINTENANCE' WHEN 1 THEN 'ACTIVE' ELSE 'NEW' END"
    before = "CASE s.n % 3 WHEN 0 THEN 'NEW' WHEN 1 THEN 'MAINTENANCE' ELSE 'ACTIVE' END"
    return [
        "INSERT INTO sources (id, name, newest_seq, derivation_revision, lease_epoch, key_salt)"
        f" VALUES (1, 'gcore', {observations}, {DERIVATION_REVISION}, 1, 'salt')",
        "INSERT INTO observers (source_id, id, key_fingerprint, base_url, auth_scheme, first_used_at)"
        f" VALUES (1, 1, 'f', 'https://api.example', 'apikey', {at('0')})",
        "INSERT INTO payloads (source_id, address, canonical_version, size, compressed_size, body)"
        f" VALUES (1, 'a', 1, 1, 1, {blob})",
        "INSERT INTO observations (source_id, seq, outcome, first_at, last_at, polls, listed, declared, rejected,"
        " variants, first_asked_at, last_asked_at, expected_interval_ms, longest_interval_ms, payload, observer_id,"
        " collector_version, recorded_at, previous_digest, opening_digest, digest) "
        + numbers("o", observations)
        + f"SELECT 1, o.n, 'ok', {at(when)}, {at(when + ' + 30')}, 2, {regions}, {regions}, 0, 0, {at(when)},"
        f" {at(when + ' + 30')}, 60000, 30000, 'a', 1, '1', {at(when)}, '{ZERO}', '{ZERO}', '{ZERO}' FROM o",
        "INSERT INTO regions (source_id, id, slug, display_name, state, country, zone, first_seen_at, changed_at, seq,"
        " content_hash) "
        + numbers("r", regions)
        + f"SELECT 1, r.n, 'region-' || r.n, 'Region ' || r.n, 'ACTIVE', 'LU', 'EMEA', {at('60')}, {at('60')}, 1, 'h'"
        " FROM r",
        "INSERT INTO state_transitions (source_id, entity, entity_id, kind, from_state, to_state, not_before,"
        " observed_at, basis, seq) "
        + numbers("r", regions)
        + f", s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {transitions}) "
        f"SELECT 1, 'region', r.n, CASE s.n WHEN 1 THEN 'appeared' ELSE 'changed' END,"
        f" CASE WHEN s.n > 1 THEN {before} END, {state}, CASE WHEN s.n > 1 THEN {at(t_at + ' - 30')} END, {at(t_at)},"
        f" CASE s.n WHEN 1 THEN 'baseline' ELSE 'direct' END, {of_step} FROM r CROSS JOIN s",
        "INSERT INTO region_versions (source_id, region_id, valid_from, valid_to, changed_fields, display_name, slug,"
        " state, seq, not_before, basis) "
        + numbers("r", regions)
        + f", s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {transitions}) "
        f"SELECT 1, r.n, {at(t_at)}, CASE WHEN s.n < {transitions} THEN"
        f" {at(t_at.replace('s.n', '(s.n + 1)'))} END, CASE WHEN s.n > 1 THEN '[\"state\"]' END, 'Region ' || r.n,"
        f" 'region-' || r.n, {state}, {of_step}, CASE WHEN s.n > 1 THEN {at(t_at + ' - 30')} END,"
        " CASE WHEN s.n > 1 THEN 'direct' ELSE 'baseline' END FROM r CROSS JOIN s",
        "INSERT INTO gaps (source_id, until_seq, from_at, until_at, last_asked_at, cause, failed_polls, seq) "
        + numbers("g", gaps)
        + f"SELECT 1, {after_gap}, {at(gap_from)}, {at(gap_until)}, {at(gap_from)}, 'no_polls', 0, {after_gap} - 1"
        f" FROM g WHERE g.n <= {gaps}",
        "INSERT INTO unproven_absences (source_id, entity, scope, missed_seq, from_at, until_at, until_seq,"
        " proven_seq) "
        + numbers("g", gaps)
        + f"SELECT 1, 'region', 'all', {after_gap}, {at(gap_from)}, {at(gap_until)}, {after_gap}, {after_gap} - 1"
        f" FROM g WHERE g.n <= {gaps}",
    ]


def long_history(file: Path, length: int, gap_every: int = 5) -> sa.Engine:
    """A new file with a history of three regions that is `length` times as long as the shortest one."""
    engine = open_engine(f"sqlite:///{file}")
    migrate.upgrade(engine)
    fill(engine, regions=3, transitions=30 * length, observations=300 * length, gap_every=gap_every)
    return engine
