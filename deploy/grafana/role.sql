-- A role for dashboards: it reads everything in the collector's database and writes nothing. Compose runs this once,
-- with psql, when the database is created. In other set-ups, run it as the collector's own role, in a folder with the password:
--
--   psql -d collector -v password="$(cat grafana-database)" -f role.sql
\if :{?password}
\else
\set password `cat /run/secrets/postgres-grafana`
\endif
CREATE ROLE grafana LOGIN PASSWORD :'password';
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
GRANT USAGE ON SCHEMA public TO grafana;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO grafana;
-- Tables and views that the collector creates later, too.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO grafana;
