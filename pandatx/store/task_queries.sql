-- name: statuses
-- A task's status and owner.
SELECT status, username, parent_tid FROM {panda}.jedi_tasks WHERE jeditaskid = %(task_id)s

-- name: tasks
-- Whole tasks; the newest first.
SELECT {columns} FROM {panda}.jedi_tasks WHERE jeditaskid = ANY (%(ids)s) ORDER BY jeditaskid DESC

-- name: parameters
SELECT jeditaskid, taskparams FROM {panda}.jedi_taskparams WHERE jeditaskid = ANY (%(ids)s)

-- name: texts
-- The parameters of tasks, the newest first, as far as all of them have no more bytes than there is room for.
SELECT jeditaskid, taskparams FROM (
  SELECT jeditaskid, taskparams, sum(octet_length(taskparams)) OVER (ORDER BY jeditaskid DESC) AS bytes
    FROM {panda}.jedi_taskparams WHERE jeditaskid = ANY (%(ids)s)) t WHERE bytes <= %(room)s

-- name: templates
-- The same of what the jobs of tasks are given.
SELECT jeditaskid, jobparamstemplate FROM (
  SELECT jeditaskid, jobparamstemplate, sum(octet_length(jobparamstemplate)) OVER (ORDER BY jeditaskid DESC) AS bytes
    FROM {panda}.jedi_jobparams_template WHERE jeditaskid = ANY (%(ids)s)) t WHERE bytes <= %(room)s

-- name: progress
-- The files of the main inputs of each task.
SELECT jeditaskid, coalesce(sum(nfiles), 0)::bigint AS files, coalesce(sum(nfilesfinished), 0)::bigint AS finished,
       coalesce(sum(nfilesfailed), 0)::bigint AS failed, coalesce(sum(nfilesmissing), 0)::bigint AS missing
  FROM {panda}.jedi_datasets
 WHERE jeditaskid = ANY (%(ids)s) AND type IN ('input', 'pseudo_input') AND masterid IS NULL
 GROUP BY jeditaskid

-- name: found
-- The newest tasks of a user that have the wanted values; by id, by request, or by the time of their last change.
SELECT t.jeditaskid FROM {panda}.jedi_tasks t
 WHERE t.username = %(username)s
   AND (%(task_id)s::bigint IS NULL OR t.jeditaskid = %(task_id)s)
   AND (%(req_id)s::bigint IS NULL OR t.reqid = %(req_id)s)
   AND (%(since)s::timestamp IS NULL OR t.modificationtime >= %(since)s::timestamp)
   AND to_jsonb(t) @> %(equal)s::jsonb
   AND NOT EXISTS (SELECT FROM unnest(%(filled)s::text[]) f(name) WHERE to_jsonb(t) -> f.name = 'null')
 ORDER BY t.jeditaskid DESC LIMIT %(n)s

-- name: found_ever
-- The same without an id, of a long time or of all: the tasks of a user are found in DEFT's table, whose index every
-- database has.
SELECT t.jeditaskid FROM {deft}.t_task d JOIN {panda}.jedi_tasks t ON t.jeditaskid = d.taskid
 WHERE d.username = %(username)s AND t.username = %(username)s
   AND (%(since)s::timestamp IS NULL OR t.modificationtime >= %(since)s::timestamp)
   AND to_jsonb(t) @> %(equal)s::jsonb
   AND NOT EXISTS (SELECT FROM unnest(%(filled)s::text[]) f(name) WHERE to_jsonb(t) -> f.name = 'null')
 ORDER BY t.jeditaskid DESC LIMIT %(n)s

-- name: modified
-- The tasks of a user that have changed since; the oldest first. In one value: those of production are many.
SELECT coalesce(array_agg(jeditaskid ORDER BY jeditaskid), ARRAY[]::bigint[])
  FROM (SELECT jeditaskid FROM {panda}.jedi_tasks
         WHERE username = %(username)s AND modificationtime >= %(since)s::timestamp AND prodsourcelabel = %(label)s
           AND (%(after)s::bigint IS NULL OR jeditaskid > %(after)s)
         ORDER BY jeditaskid LIMIT %(n)s) t

-- name: brief
SELECT jeditaskid, modificationtime, status, processingtype, transuses, transhome, architecture, reqid, creationdate,
       site, cloud, taskname
  FROM {panda}.jedi_tasks WHERE jeditaskid = ANY (%(ids)s) ORDER BY jeditaskid

-- name: datasets
-- The datasets of some tasks.
SELECT jeditaskid, datasetid AS id, datasetname AS name, containername AS container, type, masterid IS NULL AS main,
       coalesce(nfiles, 0) AS files, coalesce(nfilesused, 0) AS used, coalesce(nfilesfinished, 0) AS finished,
       coalesce(nfilesfailed, 0) AS failed
  FROM {panda}.jedi_datasets WHERE jeditaskid = ANY (%(ids)s) ORDER BY jeditaskid, datasetid

-- name: file_states
-- What the files of the main inputs of some tasks are doing.
SELECT d.jeditaskid, coalesce(c.proc_status, c.status) AS state, count(*) AS n
  FROM {panda}.jedi_datasets d
  JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid
 WHERE d.jeditaskid = ANY (%(ids)s) AND d.type IN ('input', 'pseudo_input') AND d.masterid IS NULL
 GROUP BY 1, 2 ORDER BY 1, 2

-- name: jobs_of_files
-- The jobs that have files of some datasets of a task. In one value: they can be many. Materialized, lest the index of
-- jobs is read as a whole for their order.
WITH j AS MATERIALIZED (
  SELECT pandaid FROM {panda}.jedi_dataset_contents
   WHERE jeditaskid = %(task_id)s AND datasetid = ANY (%(datasets)s::bigint[]))
SELECT coalesce(array_agg(DISTINCT pandaid ORDER BY pandaid), ARRAY[]::bigint[]) FROM j WHERE pandaid IS NOT NULL

-- name: files_of_living_jobs
-- The files of some datasets in jobs that have not ended, but for those that merge.
SELECT j.jobstatus, count(*) AS n
  FROM (SELECT pandaid, jobstatus FROM {panda}.jobsdefined4
         WHERE jeditaskid = %(task_id)s AND processingtype IS DISTINCT FROM 'pmerge'
        UNION ALL
        SELECT pandaid, jobstatus FROM {panda}.jobsactive4
         WHERE jeditaskid = %(task_id)s AND processingtype IS DISTINCT FROM 'pmerge') j
  JOIN {panda}.jedi_dataset_contents c
    ON c.jeditaskid = %(task_id)s AND c.datasetid = ANY (%(datasets)s::bigint[]) AND c.pandaid = j.pandaid
 GROUP BY j.jobstatus

-- name: files
-- Some files of a dataset, after one of them.
SELECT lfn, scope, fileid, status FROM {panda}.jedi_dataset_contents
 WHERE jeditaskid = %(task_id)s AND datasetid = %(dataset)s AND fileid > %(after)s
 ORDER BY fileid LIMIT %(n)s

-- name: job_ids
-- The jobs of a task, wherever they are; with statuses only those that ended so.
SELECT pandaid FROM (
  SELECT pandaid FROM {panda}.jobsdefined4 WHERE jeditaskid = %(task_id)s AND {ended}
  UNION SELECT pandaid FROM {panda}.jobsactive4 WHERE jeditaskid = %(task_id)s AND {ended}
  UNION SELECT pandaid FROM {panda}.jobsarchived4 WHERE jeditaskid = %(task_id)s AND {ended}
  UNION SELECT pandaid FROM {arch}.jobsarchived WHERE jeditaskid = %(task_id)s AND {ended}) j
 ORDER BY pandaid

-- name: jumbo_datasets
-- The output datasets of tasks with jumbo jobs that ended in a time.
SELECT t.jeditaskid, t.status, d.datasetname
  FROM {panda}.jedi_tasks t JOIN {panda}.jedi_datasets d ON d.jeditaskid = t.jeditaskid AND d.type = 'output'
 WHERE t.modificationtime > %(since)s::timestamp AND t.modificationtime < %(until)s::timestamp AND t.prodsourcelabel = 'managed'
   AND t.usejumbo IS NOT NULL AND t.status IN ('finished', 'done')
 ORDER BY t.jeditaskid, d.datasetname
