-- name: file_ids
SELECT nextval('{panda}.jedi_dataset_cont_fileid_seq') AS id FROM generate_series(1, %(n)s)

-- name: copy_files
-- Rows for what jobs have made beside an output that is still theirs.
INSERT INTO {panda}.jedi_dataset_contents (jeditaskid, datasetid, fileid, creationdate, lfn, type, status, scope, attemptnr,
   maxattempt, keeptrack, boundaryid, pandaid, failedattempt, outpandaid, maxfailure, ramcount, jobsetid)
SELECT c.jeditaskid, c.datasetid, v.file, %(now)s, v.lfn, c.type, c.status, c.scope, c.attemptnr,
   c.maxattempt, c.keeptrack, c.boundaryid, c.pandaid, c.failedattempt, c.outpandaid, c.maxfailure, c.ramcount, c.jobsetid
  FROM unnest(%(jobs)s::bigint[], %(tasks)s::bigint[], %(datasets)s::bigint[], %(files)s::bigint[], %(originals)s::bigint[],
              %(lfns)s::text[]) v(job, task, dataset, file, original, lfn)
  JOIN {panda}.jedi_tasks t ON t.jeditaskid = v.task AND t.status NOT IN ({over})
  JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = v.task AND c.datasetid = v.dataset AND c.fileid = v.original
 WHERE c.pandaid = v.job AND c.keeptrack = 1

-- name: lock_files
-- prepare: tasks bigint[], datasets bigint[], files bigint[], blocks text[]
-- Rows of files, locked in the order of rule R1; those of tasks that are over are left out (reference/lifecycle.md 7.12).
SELECT {columns_of_c}, d.type AS dataset_type,
       d.masterid IS NULL AND d.type IN ('input', 'pseudo_input') AS master,
       v.block IS NOT NULL AND EXISTS (SELECT 1 FROM {panda}.datasets b
         WHERE b.name = v.block AND b.status IN ('tobeclosed', 'completed')) AS merge_begun
  FROM unnest(%(tasks)s, %(datasets)s, %(files)s, %(blocks)s) v(task, dataset, file, block)
  JOIN {panda}.jedi_tasks t ON t.jeditaskid = v.task AND t.status NOT IN ({over})
  JOIN {panda}.jedi_datasets d ON d.jeditaskid = v.task AND d.datasetid = v.dataset
  JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = v.task AND c.datasetid = v.dataset AND c.fileid = v.file
 ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c

-- name: write_files
-- prepare: files json
-- Locked rows of files as they are now.
UPDATE {panda}.jedi_dataset_contents c SET {assignments} FROM json_to_recordset(%(files)s) w({typed})
 WHERE c.jeditaskid = w.jeditaskid AND c.datasetid = w.datasetid AND c.fileid = w.fileid

-- name: count
-- prepare: datasets json
-- What is added to the counters of datasets, which are locked in their order. The hold is cut at zero: an older server does
-- not count all of it.
WITH l AS MATERIALIZED (SELECT w.* FROM json_to_recordset(%(datasets)s)
    w(jeditaskid bigint, datasetid bigint, nfilesused int, nfilesfinished int, nfilesfailed int, nfilesonhold int,
      nfilestobeused int, nfileswaiting int, nevents bigint, neventsused bigint)
   JOIN {panda}.jedi_datasets d ON d.jeditaskid = w.jeditaskid AND d.datasetid = w.datasetid
   ORDER BY w.jeditaskid, w.datasetid FOR UPDATE OF d)
UPDATE {panda}.jedi_datasets d SET
   nfilesused = coalesce(d.nfilesused, 0) + coalesce(l.nfilesused, 0),
   nfilesfinished = coalesce(d.nfilesfinished, 0) + coalesce(l.nfilesfinished, 0),
   nfilesfailed = coalesce(d.nfilesfailed, 0) + coalesce(l.nfilesfailed, 0),
   nfilesonhold = greatest(coalesce(d.nfilesonhold, 0) + coalesce(l.nfilesonhold, 0), 0),
   nfilestobeused = CASE WHEN l.nfilestobeused IS NULL THEN d.nfilestobeused ELSE coalesce(d.nfilestobeused, 0) + l.nfilestobeused END,
   nfileswaiting = CASE WHEN l.nfileswaiting IS NULL THEN d.nfileswaiting ELSE coalesce(d.nfileswaiting, 0) + l.nfileswaiting END,
   nevents = coalesce(d.nevents, 0) + coalesce(l.nevents, 0),
   neventsused = coalesce(d.neventsused, 0) + coalesce(l.neventsused, 0)
  FROM l WHERE d.jeditaskid = l.jeditaskid AND d.datasetid = l.datasetid

-- name: done
-- prepare: tasks bigint[], jobs int[], events bigint[], now timestamp
-- Finished jobs of tasks. With its fifth and its hundredth a task's parameters are to be computed anew.
WITH l AS MATERIALIZED (SELECT v.* FROM unnest(%(tasks)s, %(jobs)s, %(events)s) v(task, jobs, events)
   JOIN {deft}.t_task t ON t.taskid = v.task ORDER BY v.task FOR UPDATE OF t),
 u AS (UPDATE {deft}.t_task t SET timestamp = %(now)s, total_done_jobs = coalesce(t.total_done_jobs, 0) + l.jobs,
    total_events = least(9999999999, coalesce(t.total_events, 0) + l.events)
   FROM l WHERE t.taskid = l.task RETURNING t.taskid, t.total_done_jobs AS after, t.total_done_jobs - l.jobs AS before)
UPDATE {panda}.jedi_tasks j SET walltimeunit = NULL FROM u
 WHERE j.jeditaskid = u.taskid AND (u.before < 5 AND u.after >= 5 OR u.before < 100 AND u.after >= 100)

-- name: wait
-- prepare: tasks bigint[], now timestamp
-- Tasks whose files wait for a job again, since now unless they have waited before.
UPDATE {panda}.jedi_tasks SET queuedtime = %(now)s
 WHERE queuedtime IS NULL AND jeditaskid = ANY (ARRAY(SELECT jeditaskid FROM {panda}.jedi_tasks
   WHERE jeditaskid = ANY (%(tasks)s) ORDER BY jeditaskid FOR UPDATE))

-- name: follow
-- prepare: jobs bigint[], statuses text[]
-- What the files of the master are doing, by the statuses of their jobs.
WITH l AS MATERIALIZED (SELECT c.jeditaskid, c.datasetid, c.fileid, v.status {files_of_jobs}
    AND d.masterid IS NULL AND c.proc_status IS DISTINCT FROM v.status
   ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c)
UPDATE {panda}.jedi_dataset_contents c SET proc_status = l.status FROM l
 WHERE c.jeditaskid = l.jeditaskid AND c.datasetid = l.datasetid AND c.fileid = l.fileid

-- name: follow_free
-- prepare: jobs bigint[], statuses text[]
-- The same for those rows that nobody else holds.
WITH l AS MATERIALIZED (SELECT c.jeditaskid, c.datasetid, c.fileid, v.status {files_of_jobs}
    AND d.masterid IS NULL AND c.proc_status IS DISTINCT FROM v.status
   ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c SKIP LOCKED)
UPDATE {panda}.jedi_dataset_contents c SET proc_status = l.status FROM l
 WHERE c.jeditaskid = l.jeditaskid AND c.datasetid = l.datasetid AND c.fileid = l.fileid

-- name: hold
-- prepare: jobs bigint[], statuses int[]
-- The files of these jobs go on hold (1) or come back (-1): their transfer begins or ends.
WITH h AS MATERIALIZED (SELECT c.jeditaskid, c.datasetid, sum(v.status) AS n {files_of_jobs}
    AND c.status = 'running' GROUP BY c.jeditaskid, c.datasetid),
 l AS MATERIALIZED (SELECT h.* FROM h JOIN {panda}.jedi_datasets d ON d.jeditaskid = h.jeditaskid AND d.datasetid = h.datasetid
   ORDER BY h.jeditaskid, h.datasetid FOR UPDATE OF d)
UPDATE {panda}.jedi_datasets d SET nfilesonhold = greatest(coalesce(d.nfilesonhold, 0) + l.n, 0)
  FROM l WHERE d.jeditaskid = l.jeditaskid AND d.datasetid = l.datasetid

-- name: limit_lock_wait
SELECT set_config('lock_timeout', %(milliseconds)s, true)
