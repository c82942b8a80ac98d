-- name: rules
-- What operators have set down on errors, with their actions.
SELECT e.retryerror_id, e.errorsource, e.errorcode, e.errordiag, e.parameters, e.architecture, e.release, e.workqueue_id,
       e.expiration_date, a.retry_action, e.active AS error_active, a.active AS action_active
  FROM {panda}.retryerrors e JOIN {panda}.retryactions a ON a.retryaction_id = e.retryaction

-- name: classes
SELECT id, error_source, error_code, error_diag, error_class, active FROM {panda}.error_classification

-- name: lock_tasks
-- prepare: tasks bigint[]
-- Tasks in the order of their ids, before their datasets and files (rule R1).
SELECT jeditaskid, ramcount, ramunit, baseramcount, corecount, splitrule, cputime, cputimeunit, basewalltime, cpuefficiency
  FROM {panda}.jedi_tasks WHERE jeditaskid = ANY (%(tasks)s) ORDER BY jeditaskid FOR UPDATE

-- name: lock_datasets
-- prepare: tasks bigint[], datasets bigint[]
SELECT d.datasetid FROM unnest(%(tasks)s, %(datasets)s) v(task, dataset)
  JOIN {panda}.jedi_datasets d ON d.jeditaskid = v.task AND d.datasetid = v.dataset
 ORDER BY d.jeditaskid, d.datasetid FOR UPDATE OF d

-- name: limit_attempts
-- prepare: rows json
-- Other limits for the files of jobs that have ended. One that is ready and has now used up its attempts counts as used and
-- failed, as at the end of a job, and of a merge job is never merged; one that has got another attempt counts no more, and
-- is to be merged all the same.
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s)
   v(pandaid bigint, jeditaskid bigint, datasetid bigint, fileid bigint, stops boolean, most smallint, more smallint,
     merges boolean)),
 c AS MATERIALIZED (SELECT c.jeditaskid, c.datasetid, c.fileid,
     v.merges, c.status = 'notmerged' OR c.status = 'ready' AND c.keeptrack IS NOT DISTINCT FROM 1 AS counted, c.attemptnr, c.failedattempt,
     c.attemptnr < c.maxattempt AND (c.maxfailure IS NULL OR coalesce(c.failedattempt, 0) < c.maxfailure) AS went_on,
     least(least(c.maxattempt, v.most, CASE WHEN v.stops THEN c.attemptnr END) + v.more, 32767)::smallint AS maxattempt,
     CASE WHEN c.maxfailure < 32767 THEN c.maxfailure + v.more ELSE c.maxfailure END::smallint AS maxfailure
   FROM {panda}.jedi_dataset_contents c
   JOIN v ON v.jeditaskid = c.jeditaskid AND v.datasetid = c.datasetid AND v.fileid = c.fileid
  WHERE c.pandaid = v.pandaid AND (c.status IN ('running', 'ready') OR v.merges AND c.status = 'notmerged')
    AND c.maxattempt IS NOT NULL AND c.attemptnr IS NOT NULL
  ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c),
 n AS MATERIALIZED (SELECT c.*,
     attemptnr < maxattempt AND (maxfailure IS NULL OR coalesce(failedattempt, 0) < maxfailure) AS goes_on FROM c),
 u AS (UPDATE {panda}.jedi_dataset_contents c SET maxattempt = n.maxattempt, maxfailure = n.maxfailure,
     status = CASE WHEN NOT n.merges OR NOT n.counted THEN c.status WHEN n.goes_on THEN 'ready' ELSE 'notmerged' END,
     keeptrack = CASE WHEN NOT n.merges OR NOT n.counted THEN c.keeptrack WHEN n.goes_on THEN 1 END,
     proc_status = CASE WHEN n.counted AND n.goes_on AND c.proc_status = 'failed' THEN 'ready'
                        WHEN n.counted AND NOT n.goes_on AND c.proc_status = 'ready' THEN 'failed' ELSE c.proc_status END
   FROM n WHERE c.jeditaskid = n.jeditaskid AND c.datasetid = n.datasetid AND c.fileid = n.fileid)
UPDATE {panda}.jedi_datasets d
   SET nfilesused = greatest(coalesce(d.nfilesused, 0) + s.n, 0), nfilesfailed = greatest(coalesce(d.nfilesfailed, 0) + s.n, 0)
  FROM (SELECT jeditaskid, datasetid, sum(went_on::int - goes_on::int) AS n FROM n WHERE counted
         GROUP BY jeditaskid, datasetid) s
 WHERE d.jeditaskid = s.jeditaskid AND d.datasetid = s.datasetid AND s.n <> 0

-- name: memory_of_files
-- prepare: task bigint
-- How many files of each of a task's master inputs have asked for which memory.
SELECT c.datasetid, coalesce(c.ramcount, 0) AS ram, count(*) AS n
  FROM {panda}.jedi_datasets d
  JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid
 WHERE d.jeditaskid = %(task)s AND d.masterid IS NULL
   AND d.type IN ('input', 'pseudo_input', 'pp_input', 'trn_log', 'trn_output')
 GROUP BY 1, 2

-- name: raise_memory
-- prepare: rows json
-- More memory for the files of jobs; of which datasets they are, and what they had before.
UPDATE {panda}.jedi_dataset_contents c SET ramcount = v.ram
  FROM json_to_recordset(%(rows)s) v(pandaid bigint, jeditaskid bigint, datasetid bigint, fileid bigint, ram bigint)
  JOIN {panda}.jedi_dataset_contents o
    ON o.jeditaskid = v.jeditaskid AND o.datasetid = v.datasetid AND o.fileid = v.fileid
 WHERE c.jeditaskid = v.jeditaskid AND c.datasetid = v.datasetid AND c.fileid = v.fileid AND c.pandaid = v.pandaid
   AND coalesce(c.ramcount, 0) < v.ram
RETURNING c.datasetid, coalesce(o.ramcount, 0) AS before

-- name: change_task
-- What a rule changes in a task; what is NULL stays.
UPDATE {panda}.jedi_tasks SET ramcount = coalesce(%(ram)s, ramcount), resource_type = coalesce(%(resource_type)s, resource_type),
       cputime = coalesce(%(cpu_time)s, cputime), cputimeunit = coalesce(%(cpu_time_unit)s, cputimeunit),
       splitrule = coalesce(%(split_rule)s, splitrule)
 WHERE jeditaskid = %(task)s

-- name: recalculate
-- prepare: task bigint, now timestamp, before timestamp
-- Have JEDI work the needs of a task out again, at most every half hour.
UPDATE {panda}.jedi_tasks SET walltimeunit = NULL, modificationtime = %(now)s
 WHERE jeditaskid = %(task)s AND modificationtime < %(before)s

-- name: has_finished
-- prepare: task bigint
-- Whether a job of the task that was no build has ever finished.
SELECT EXISTS (SELECT 1 FROM {panda}.jobsarchived4
                WHERE jeditaskid = %(task)s AND jobstatus = 'finished' AND coalesce(transformation, '') NOT LIKE '%%build%%')
    OR EXISTS (SELECT 1 FROM {arch}.jobsarchived
                WHERE jeditaskid = %(task)s AND jobstatus = 'finished' AND coalesce(transformation, '') NOT LIKE '%%build%%')

-- name: events
-- prepare: task bigint, datasets bigint[], files bigint[]
-- Events of the files of a job in its task's master inputs.
SELECT coalesce(sum(CASE WHEN c.startevent <> 0 AND c.endevent <> 0 THEN c.endevent - c.startevent ELSE c.nevents END), 0)::bigint
  FROM unnest(%(datasets)s, %(files)s) v(datasetid, fileid)
  JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = %(task)s AND c.datasetid = v.datasetid AND c.fileid = v.fileid
  JOIN {panda}.jedi_datasets d ON d.jeditaskid = c.jeditaskid AND d.datasetid = c.datasetid AND d.masterid IS NULL

-- name: master_inputs
-- prepare: task bigint
-- Which of the datasets are master inputs of the task.
SELECT datasetid FROM {panda}.jedi_datasets
 WHERE jeditaskid = %(task)s AND type IN ('input', 'pseudo_input') AND masterid IS NULL
