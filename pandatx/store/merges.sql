-- name: makers
-- prepare: ids bigint[]
-- The jobs whose outputs these merge jobs have read.
SELECT DISTINCT c.outpandaid
  FROM {panda}.filestable4 f
  JOIN {panda}.jedi_dataset_contents c
    ON c.jeditaskid = f.jeditaskid AND c.datasetid = f.datasetid AND c.fileid = f.fileid
 WHERE f.pandaid = ANY (%(ids)s) AND f.type = 'input' AND c.outpandaid <> f.pandaid
 ORDER BY c.outpandaid

-- name: outcomes
-- prepare: ids bigint[]
-- What has become of the outputs of jobs in merging: merged, or not to be merged any more, and how the merge job ended.
-- That may be archived for long when the last of a job's outputs is given up.
SELECT f.pandaid, bool_or(c.status = 'finished') AS merged,
       max(coalesce(j.jobstatus, o.jobstatus)) FILTER (WHERE c.status = 'notmerged') AS ended
  FROM {panda}.jobsactive4 a
  JOIN {panda}.filestable4 f ON f.pandaid = a.pandaid AND f.type IN ('output', 'log') AND f.destinationdblocktoken = 'TOMERGE'
  JOIN {panda}.jedi_dataset_contents c
    ON c.jeditaskid = f.jeditaskid AND c.datasetid = f.datasetid AND c.fileid = f.fileid
  LEFT JOIN {panda}.jobsarchived4 j ON j.pandaid = c.pandaid
  LEFT JOIN {arch}.jobsarchived o ON o.pandaid = c.pandaid AND c.status = 'notmerged' AND j.pandaid IS NULL
 WHERE a.pandaid = ANY (%(ids)s) AND a.jobstatus = 'merging' AND c.outpandaid = f.pandaid AND c.pandaid <> f.pandaid
   AND c.status IN ('finished', 'notmerged')
 GROUP BY f.pandaid
