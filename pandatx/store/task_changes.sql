-- name: lock
-- prepare: task bigint
-- What of a task a change of its rules goes by, locked.
SELECT splitrule FROM {panda}.jedi_tasks WHERE jeditaskid = %(task)s FOR UPDATE

-- name: set_split_rule
-- prepare: task bigint, rules text
UPDATE {panda}.jedi_tasks SET splitrule = %(rules)s WHERE jeditaskid = %(task)s

-- name: set_jumbo
-- prepare: task bigint, rules text, flag text
UPDATE {panda}.jedi_tasks SET splitrule = %(rules)s, usejumbo = %(flag)s WHERE jeditaskid = %(task)s

-- name: set_cloning
-- prepare: task bigint, rules text, service int
UPDATE {panda}.jedi_tasks SET splitrule = %(rules)s, eventservice = %(service)s WHERE jeditaskid = %(task)s

-- name: set_attribute
-- prepare: task bigint, name text, value int
-- One of four attributes; what a resource type goes by.
UPDATE {panda}.jedi_tasks SET
   ramcount = CASE WHEN %(name)s = 'ramCount' THEN %(value)s ELSE ramcount END,
   walltime = CASE WHEN %(name)s = 'wallTime' THEN %(value)s ELSE walltime END,
   cputime = CASE WHEN %(name)s = 'cpuTime' THEN %(value)s ELSE cputime END,
   corecount = CASE WHEN %(name)s = 'coreCount' THEN %(value)s ELSE corecount END
 WHERE jeditaskid = %(task)s RETURNING corecount, ramcount, baseramcount, ramunit

-- name: set_resource_type
-- prepare: task bigint, type text
UPDATE {panda}.jedi_tasks SET resource_type = %(type)s WHERE jeditaskid = %(task)s

-- name: set_modification_time
-- prepare: task bigint, at timestamp
UPDATE {panda}.jedi_tasks SET modificationtime = %(at)s WHERE jeditaskid = %(task)s

-- name: set_priority
-- prepare: task bigint, priority int, now timestamp
-- A task and its mirror, which comes first, as where jobs end.
WITH d AS (UPDATE {deft}.t_task t SET current_priority = %(priority)s, timestamp = %(now)s
   FROM {panda}.jedi_tasks j WHERE t.taskid = %(task)s AND j.jeditaskid = %(task)s RETURNING 1)
UPDATE {panda}.jedi_tasks SET currentpriority = %(priority)s
 WHERE jeditaskid = %(task)s AND (SELECT count(*) FROM d) >= 0

-- name: set_share
-- prepare: tasks bigint[], share text
-- Those of the tasks that no engine works on at the moment.
WITH l AS MATERIALIZED (SELECT jeditaskid FROM {panda}.jedi_tasks WHERE jeditaskid = ANY (%(tasks)s) AND lockedby IS NULL
   ORDER BY jeditaskid FOR UPDATE)
UPDATE {panda}.jedi_tasks t SET gshare = %(share)s FROM l WHERE t.jeditaskid = l.jeditaskid RETURNING t.jeditaskid

-- name: jobs_defined
-- prepare: tasks bigint[], statuses text[], last bigint, n int, priority int, share text
-- The next jobs of tasks get another priority or share, or both. Without statuses: all of them.
WITH l AS MATERIALIZED (SELECT pandaid FROM {panda}.jobsdefined4
   WHERE jeditaskid = ANY (%(tasks)s) AND (%(statuses)s IS NULL OR jobstatus = ANY (%(statuses)s)) AND pandaid > %(last)s
   ORDER BY pandaid LIMIT %(n)s FOR UPDATE)
UPDATE {panda}.jobsdefined4 j SET {changes} FROM l WHERE j.pandaid = l.pandaid RETURNING {told}

-- name: jobs_active
-- prepare: tasks bigint[], statuses text[], last bigint, n int, priority int, share text
-- The same of those that are activated, or further.
WITH l AS MATERIALIZED (SELECT pandaid FROM {panda}.jobsactive4
   WHERE jeditaskid = ANY (%(tasks)s) AND (%(statuses)s IS NULL OR jobstatus = ANY (%(statuses)s)) AND pandaid > %(last)s
   ORDER BY pandaid LIMIT %(n)s FOR UPDATE)
UPDATE {panda}.jobsactive4 j SET {changes} FROM l WHERE j.pandaid = l.pandaid RETURNING {told}
