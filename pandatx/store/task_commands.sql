-- name: lock
-- prepare: task bigint
-- A task that a command is meant for, locked.
SELECT jeditaskid AS task_id, status, username AS owner, prodsourcelabel AS label, oldstatus AS old_status
  FROM {panda}.jedi_tasks WHERE jeditaskid = %(task)s FOR UPDATE

-- name: read
-- prepare: task bigint
-- The same without a lock.
SELECT jeditaskid AS task_id, status, username AS owner, prodsourcelabel AS label, oldstatus AS old_status
  FROM {panda}.jedi_tasks WHERE jeditaskid = %(task)s

-- name: waiting
-- prepare: task bigint
-- A task that is only submitted yet.
SELECT taskid AS task_id, coalesce(status, 'waiting') AS status, coalesce(username, '') AS owner,
       prodsourcelabel AS label, NULL AS old_status
  FROM {deft}.t_task WHERE taskid = %(task)s

-- name: drop
-- prepare: task bigint
DELETE FROM {deft}.prodsys_comm WHERE comm_task = %(task)s

-- name: register
-- prepare: task bigint, at bigint, command text, comment text, parameters text
-- A command as JEDI reads it; it takes them in the order of comm_ts, which older servers leave empty.
INSERT INTO {deft}.prodsys_comm (comm_task, comm_owner, comm_cmd, comm_ts, comm_comment, comm_parameters)
VALUES (%(task)s, 'DEFT', %(command)s, %(at)s, %(comment)s, %(parameters)s)

-- name: failed_jobs
-- prepare: task bigint
-- The jobs of a user's task that have failed and still wait for the others of their sets, as an older server leaves them, in
-- sets of which one has attempts left.
SELECT j.pandaid FROM {panda}.jobsactive4 j
 WHERE j.jeditaskid = %(task)s AND j.jobstatus = 'failed' AND j.prodsourcelabel = 'user'
   AND EXISTS (SELECT FROM {panda}.jobsactive4 s WHERE s.jeditaskid = %(task)s AND s.jobstatus = 'failed'
                  AND s.jobdefinitionid = j.jobdefinitionid AND s.attemptnr < s.maxattempt)
 ORDER BY j.pandaid

-- name: unfinished
-- prepare: task bigint
-- The jobs of a task that have not ended.
SELECT pandaid FROM {panda}.jobsdefined4 WHERE jeditaskid = %(task)s
UNION ALL SELECT pandaid FROM {panda}.jobsactive4 WHERE jeditaskid = %(task)s ORDER BY pandaid
