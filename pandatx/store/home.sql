-- name: has_role
-- Whether the role of the server was made already.
SELECT count(*) FROM pg_roles WHERE rolname = 'panda'

-- name: create_role
-- Not a superuser: it makes databases, sees everybody's sessions, and may end them.
CREATE ROLE panda LOGIN CREATEDB IN ROLE pg_monitor, pg_signal_backend

-- name: has_database
-- Whether the database of the server was made already.
SELECT count(*) FROM pg_database WHERE datname = 'panda_db'

-- name: create_database
-- Owned by the server's role.
CREATE DATABASE panda_db OWNER panda
