-- name: parent
-- prepare: name text, owner text
-- The newest task of a user by its name, taken by the engine or not.
SELECT max(id) AS id FROM (
  (SELECT jeditaskid AS id FROM {panda}.jedi_tasks WHERE taskname = %(name)s AND username = %(owner)s
    ORDER BY jeditaskid DESC LIMIT 1)
  UNION ALL
  (SELECT taskid FROM {deft}.t_task WHERE taskname = %(name)s AND username = %(owner)s ORDER BY taskid DESC LIMIT 1)) p

-- name: hold_name
-- prepare: name text
-- Two submissions of the same task wait for each other.
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))

-- name: same
-- prepare: name text, vo text, label text, owner text, crew text, anyone boolean
-- The newest task of this name, of a user, a working group or anybody, locked.
SELECT jeditaskid, status FROM {panda}.jedi_tasks
 WHERE taskname = %(name)s AND vo = %(vo)s AND prodsourcelabel = %(label)s
   AND (%(anyone)s OR username = %(owner)s OR workinggroup = %(crew)s) ORDER BY jeditaskid DESC LIMIT 1 FOR UPDATE

-- name: same_waiting
-- prepare: name text, vo text, label text, owner text, crew text, anyone boolean
-- The same of those that the engine has not taken yet; which working group they are of is not known.
SELECT taskid FROM {deft}.t_task
 WHERE taskname = %(name)s AND vo = %(vo)s AND prodsourcelabel = %(label)s
   AND (%(anyone)s OR username = %(owner)s OR %(crew)s IS NOT NULL) ORDER BY taskid DESC LIMIT 1

-- name: active
-- prepare: statuses text[], label text, owner text
-- How many tasks of a user are under way.
SELECT count(*) AS n FROM {panda}.jedi_tasks
 WHERE status = ANY (%(statuses)s) AND prodsourcelabel = %(label)s AND username = %(owner)s

-- name: insert
-- prepare: now timestamp, vo text, label text, owner text, name text, parameters text, priority bigint, parent bigint
-- A task for the engine; one without a parent is its own.
WITH n AS MATERIALIZED (SELECT nextval('{deft}.prodsys2_task_id_seq') AS id)
INSERT INTO {deft}.t_task (taskid, status, submit_time, vo, prodsourcelabel, username, taskname, jedi_task_parameters,
                           priority, current_priority, parent_tid)
SELECT id, 'waiting', %(now)s, %(vo)s, %(label)s, %(owner)s, %(name)s, %(parameters)s, %(priority)s, %(priority)s,
       coalesce(%(parent)s, id) FROM n
RETURNING taskid, pg_current_xact_id()::text::bigint AS xid

-- name: submitted
-- prepare: task bigint
-- The parameters that a task was submitted with.
SELECT jedi_task_parameters FROM {deft}.t_task WHERE taskid = %(task)s

-- name: parameters
-- prepare: task bigint
-- The parameters that the engine goes by.
SELECT taskparams FROM {panda}.jedi_taskparams WHERE jeditaskid = %(task)s FOR UPDATE

-- name: write_parameters
-- prepare: task bigint, parameters text
UPDATE {panda}.jedi_taskparams SET taskparams = %(parameters)s WHERE jeditaskid = %(task)s

-- name: lower_memory_of_files
-- prepare: task bigint, ram bigint
-- The inputs of a task that were to need more memory than this, MB.
WITH l AS MATERIALIZED (SELECT c.jeditaskid, c.datasetid, c.fileid FROM {panda}.jedi_datasets d
   JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid
  WHERE d.jeditaskid = %(task)s AND d.type IN ('input', 'pseudo_input') AND c.ramcount > %(ram)s
  ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c)
UPDATE {panda}.jedi_dataset_contents c SET ramcount = %(ram)s FROM l
 WHERE c.jeditaskid = l.jeditaskid AND c.datasetid = l.datasetid AND c.fileid = l.fileid

-- name: set_memory
-- prepare: task bigint, ram int
UPDATE {panda}.jedi_tasks SET ramcount = %(ram)s WHERE jeditaskid = %(task)s
