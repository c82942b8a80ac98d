-- name: terminate
-- End the sessions of one call; how many are still there.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name = %(application)s AND datname = current_database()
