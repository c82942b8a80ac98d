-- name: terminate
-- End the sessions of one call; how many are still there.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name = %(application)s AND datname = current_database()

-- name: oldest_snapshot
-- Seconds since the oldest snapshot was taken that keeps dead rows from being removed (rule R5).
SELECT coalesce(max(extract(epoch FROM %(now)s - xact_start)), 0)::float8 FROM pg_stat_activity
 WHERE backend_xmin IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
