-- name: find
-- Jobs with statements that an older server has left, by the time that it would give itself.
SELECT DISTINCT pandaid FROM {panda}.sql_queue
 WHERE topic = %(topic)s AND (creationtime IS NULL OR creationtime < %(before)s) AND NOT pandaid = ANY (%(without)s::bigint[])
 ORDER BY pandaid LIMIT %(limit)s

-- name: take
-- The statements of these jobs, in their order, locked.
SELECT pandaid, execution_order, data FROM {panda}.sql_queue
 WHERE topic = %(topic)s AND pandaid = ANY (%(jobs)s::bigint[]) ORDER BY pandaid, execution_order FOR UPDATE

-- name: drop
DELETE FROM {panda}.sql_queue q USING unnest(%(jobs)s::bigint[], %(orders)s::int[]) v(job, place)
 WHERE q.topic = %(topic)s AND q.pandaid = v.job AND q.execution_order = v.place
