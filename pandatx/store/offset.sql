-- name: now
-- The database's time, as columns have it.
SELECT clock_timestamp() AT TIME ZONE 'UTC'
