-- name: increase
-- prepare: task bigint, n int
-- More attempts for the inputs of a task that wait for one; by dataset how many, and how many of them had none left.
WITH l AS MATERIALIZED (SELECT c.jeditaskid, c.datasetid, c.fileid,
    %(n)s > 0 AND coalesce(c.attemptnr >= c.maxattempt OR c.failedattempt >= c.maxfailure, false) AS spent
   FROM {panda}.jedi_datasets d
   JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid
  WHERE d.jeditaskid = %(task)s AND d.type IN ('input', 'pseudo_input') AND c.status = 'ready' AND c.keeptrack = 1
    AND c.maxattempt IS NOT NULL
  ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c),
 u AS (UPDATE {panda}.jedi_dataset_contents c SET
    maxattempt = least(greatest(c.maxattempt, c.attemptnr) + %(n)s, 32767),
    maxfailure = CASE WHEN c.maxfailure IS NOT NULL THEN least(greatest(c.maxfailure, c.failedattempt) + %(n)s, 32767) END,
    proc_status = CASE WHEN l.spent THEN 'ready' ELSE c.proc_status END
   FROM l WHERE c.jeditaskid = l.jeditaskid AND c.datasetid = l.datasetid AND c.fileid = l.fileid
  RETURNING c.datasetid, l.spent)
SELECT datasetid, count(*) AS n, count(*) FILTER (WHERE spent) AS again FROM u GROUP BY datasetid

-- name: reset
-- prepare: task bigint, keep boolean
-- All inputs of a task are ready again; by dataset how many, how many count as used all the same, and as failed.
WITH l AS MATERIALIZED (SELECT c.jeditaskid, c.datasetid, c.fileid FROM {panda}.jedi_datasets d
   JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid
  WHERE d.jeditaskid = %(task)s AND d.type IN ('input', 'pseudo_input', 'random_seed')
  ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c),
 u AS (UPDATE {panda}.jedi_dataset_contents c SET status = 'ready',
    attemptnr = CASE WHEN %(keep)s THEN c.attemptnr ELSE 0 END,
    failedattempt = CASE WHEN %(keep)s OR c.failedattempt IS NULL THEN c.failedattempt ELSE 0 END
   FROM l WHERE c.jeditaskid = l.jeditaskid AND c.datasetid = l.datasetid AND c.fileid = l.fileid
  RETURNING c.datasetid, c.maxattempt IS NULL AND coalesce(c.attemptnr, 0) > 0 AS used,
    coalesce(c.attemptnr >= c.maxattempt OR c.failedattempt >= c.maxfailure, false) AS spent)
SELECT datasetid, count(*) AS n, count(*) FILTER (WHERE used OR spent) AS used, count(*) FILTER (WHERE spent) AS failed
  FROM u GROUP BY datasetid ORDER BY datasetid

-- name: reset_datasets
-- prepare: task bigint, datasets bigint[], used bigint[], failed bigint[]
-- The counters of locked datasets whose files are all ready again.
WITH l AS MATERIALIZED (SELECT v.* FROM unnest(%(datasets)s, %(used)s, %(failed)s) v(dataset, used, failed)
   JOIN {panda}.jedi_datasets d ON d.jeditaskid = %(task)s AND d.datasetid = v.dataset ORDER BY v.dataset FOR UPDATE OF d)
UPDATE {panda}.jedi_datasets d SET status = 'ready', nfilesused = l.used, nfilestobeused = d.nfiles, nfilesfinished = 0,
   nfilesfailed = l.failed, neventsused = 0
  FROM l WHERE d.jeditaskid = %(task)s AND d.datasetid = l.dataset

-- name: reactivate
-- prepare: task bigint
UPDATE {panda}.jedi_tasks SET status = 'ready' WHERE jeditaskid = %(task)s
