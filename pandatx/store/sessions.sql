-- name: terminate
-- End the sessions of a child: those of its calls are named by it and a number. How many are still there.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE (application_name = %(application)s OR starts_with(application_name, %(application)s || '-'))
   AND datname = current_database()
