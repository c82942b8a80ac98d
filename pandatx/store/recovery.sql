-- name: task
SELECT jeditaskid, username, status FROM {panda}.jedi_tasks WHERE jeditaskid = %(task)s

-- name: task_of_dataset
-- The latest task with an output or log dataset of this name, with or without its scope; a broken task may have been retried.
SELECT t.jeditaskid, t.username, t.status FROM {panda}.jedi_datasets d
  JOIN {panda}.jedi_tasks t ON t.jeditaskid = d.jeditaskid
 WHERE d.datasetname = ANY (%(names)s) AND d.type IN ('output', 'log')
 ORDER BY d.jeditaskid DESC, d.datasetid DESC LIMIT 1

-- name: output_datasets
-- The output datasets of a task, or the one that is named.
SELECT datasetid, datasetname FROM {panda}.jedi_datasets
 WHERE jeditaskid = %(task)s AND type = 'output'
   AND (%(names)s::text[] IS NULL OR datasetname = ANY (%(names)s)) ORDER BY datasetname, datasetid

-- name: outputs
-- Finished outputs in a dataset of a task after one of them, and where their jobs wrote them to.
SELECT c.fileid, c.lfn, c.scope,
       coalesce((SELECT f.destinationse FROM {panda}.filestable4 f
                  WHERE f.pandaid = c.pandaid AND f.lfn = c.lfn AND f.type = 'output' LIMIT 1),
                (SELECT f.destinationse FROM {arch}.filestable_arch f
                  WHERE f.pandaid = c.pandaid AND f.lfn = c.lfn AND f.type = 'output' LIMIT 1)) AS rse
  FROM {panda}.jedi_dataset_contents c
 WHERE c.jeditaskid = %(task)s AND c.datasetid = %(dataset)s AND c.fileid > %(after)s AND c.status = 'finished'
 ORDER BY c.fileid LIMIT %(limit)s

-- name: jobs
-- The jobs that made some finished files of a task.
SELECT DISTINCT c.pandaid FROM {panda}.jedi_datasets d
  JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid
 WHERE d.jeditaskid = %(task)s AND d.type IN ('output', 'log') AND c.status = 'finished' AND c.pandaid IS NOT NULL
   AND (d.datasetname, c.lfn) IN (SELECT * FROM unnest(%(datasets)s::text[], %(lfns)s::text[]))

-- name: before
-- The jobs whose outputs these have merged.
SELECT DISTINCT outpandaid FROM {panda}.jedi_dataset_contents
 WHERE jeditaskid = %(task)s AND pandaid = ANY (%(jobs)s) AND outpandaid IS NOT NULL AND outpandaid <> pandaid

-- name: lock
-- All files of some jobs of a task, locked in the order of rule R1.
SELECT c.datasetid, c.fileid, c.lfn, c.type, c.status, c.pandaid, c.outpandaid, d.datasetname, d.masterid IS NULL AS master
  FROM {panda}.jedi_dataset_contents c
  JOIN {panda}.jedi_datasets d ON d.jeditaskid = c.jeditaskid AND d.datasetid = c.datasetid
 WHERE c.jeditaskid = %(task)s AND c.pandaid = ANY (%(jobs)s) AND c.type IN ('input', 'pseudo_input', 'output')
 ORDER BY c.jeditaskid, c.datasetid, c.fileid FOR UPDATE OF c

-- name: set_status
UPDATE {panda}.jedi_dataset_contents c SET status = %(status)s, attemptnr = coalesce(c.attemptnr, 0) + %(attempt)s
  FROM unnest(%(datasets)s::bigint[], %(files)s::bigint[]) v (dataset, file)
 WHERE c.jeditaskid = %(task)s AND c.datasetid = v.dataset AND c.fileid = v.file

-- name: lock_datasets
SELECT FROM {panda}.jedi_datasets WHERE jeditaskid = %(task)s AND datasetid = ANY (%(datasets)s)
 ORDER BY jeditaskid, datasetid FOR UPDATE

-- name: count
-- The counters of locked datasets after that; outputs lose finished files only, inputs used ones too.
WITH l AS (SELECT * FROM unnest(%(datasets)s::bigint[], %(files)s::int[]) v (dataset, files)),
 e AS (SELECT l.dataset, sum(c.nevents) AS made,
       sum(CASE WHEN c.startevent IS NULL THEN c.nevents ELSE c.endevent - c.startevent + 1 END) AS used
   FROM l JOIN {panda}.jedi_dataset_contents c
     ON c.jeditaskid = %(task)s AND c.datasetid = l.dataset AND c.status = 'finished' GROUP BY l.dataset)
UPDATE {panda}.jedi_datasets d
   SET nfilesfinished = greatest(coalesce(d.nfilesfinished, 0) - l.files, 0),
       nfilesused = CASE WHEN %(inputs)s THEN greatest(coalesce(d.nfilesused, 0) - l.files, 0) ELSE d.nfilesused END,
       neventsused = CASE WHEN %(inputs)s THEN e.used ELSE d.neventsused END,
       nevents = CASE WHEN %(inputs)s THEN d.nevents ELSE e.made END,
       state = CASE WHEN %(inputs)s THEN d.state ELSE NULL END
  FROM l LEFT JOIN e ON e.dataset = l.dataset
 WHERE d.jeditaskid = %(task)s AND d.datasetid = l.dataset

-- name: not_done
-- A task that was done has something to do again; its status by now.
UPDATE {panda}.jedi_tasks SET status = CASE WHEN status = 'done' THEN 'finished' ELSE status END
 WHERE jeditaskid = %(task)s RETURNING status
