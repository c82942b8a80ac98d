-- name: finished
-- The jobs of a task of a user that finished, wherever they are.
SELECT pandaid FROM {panda}.jobsarchived4
 WHERE jeditaskid = %(task_id)s AND jobstatus = 'finished' AND prodsourcelabel = 'user'
UNION
SELECT pandaid FROM {arch}.jobsarchived
 WHERE jeditaskid = %(task_id)s AND jobstatus = 'finished' AND prodsourcelabel = 'user'
 ORDER BY pandaid

-- name: texts
-- The metadata that pilots reported of some jobs.
SELECT pandaid, metadata FROM {panda}.metatable WHERE pandaid = ANY (%(ids)s) AND metadata IS NOT NULL
UNION ALL SELECT pandaid, metadata FROM {arch}.metatable_arch WHERE pandaid = ANY (%(ids)s) AND metadata IS NOT NULL
