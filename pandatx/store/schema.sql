-- name: alive
-- Whether anybody is there.
SELECT 1

-- name: columns
-- Every column of the given schemas.
SELECT table_schema, table_name, column_name FROM information_schema.columns WHERE table_schema = ANY(%(schemas)s)

-- name: version
SELECT major, minor, patch FROM {panda}.pandadb_version WHERE component = 'PanDA'

-- name: applied
SELECT name FROM {own}.migrations

-- name: hold_migrations
-- Two servers that start at once migrate one after the other.
SELECT pg_advisory_xact_lock(4076157)

-- name: migration_table
CREATE SCHEMA IF NOT EXISTS {own};
CREATE TABLE IF NOT EXISTS {own}.migrations (name varchar(100) PRIMARY KEY, applied timestamp NOT NULL)

-- name: note_migration
INSERT INTO {own}.migrations (name, applied) VALUES (%(name)s, clock_timestamp() AT TIME ZONE 'UTC')
