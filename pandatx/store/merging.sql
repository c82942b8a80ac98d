-- name: log_blocks
-- prepare: ids bigint[]
-- The blocks that the logs of jobs go to, each with one of the jobs.
SELECT destinationdblock AS block, min(pandaid) AS pandaid FROM {panda}.filestable4
 WHERE pandaid = ANY (%(ids)s) AND type = 'log' AND destinationdblock IS NOT NULL GROUP BY 1

-- name: at_work
-- prepare: blocks text[], tasks bigint[]
-- Those of the blocks for which a job of the task is still to do something.
SELECT b.block FROM unnest(%(blocks)s, %(tasks)s) b(block, task)
 WHERE EXISTS (SELECT 1 FROM {panda}.jobsactive4 j JOIN {panda}.filestable4 f ON f.pandaid = j.pandaid
                WHERE j.jeditaskid = b.task AND j.jobstatus NOT IN ('failed', 'merging') AND f.destinationdblock = b.block)
    OR EXISTS (SELECT 1 FROM {panda}.jobsdefined4 j JOIN {panda}.filestable4 f ON f.pandaid = j.pandaid
                WHERE j.jeditaskid = b.task AND j.jobstatus NOT IN ('failed', 'merging') AND f.destinationdblock = b.block)

-- name: statuses
-- prepare: names text[]
SELECT DISTINCT ON (name) name, status FROM {panda}.datasets WHERE name = ANY (%(names)s)
 ORDER BY name, type <> 'output', creationdate DESC

-- name: merging
-- prepare: task bigint, block text
-- The jobs of a task that wait for the merging of their files in a block.
SELECT DISTINCT j.pandaid FROM {panda}.jobsactive4 j JOIN {panda}.filestable4 f ON f.pandaid = j.pandaid
 WHERE j.jeditaskid = %(task)s AND j.jobstatus = 'merging' AND f.destinationdblock = %(block)s ORDER BY 1

-- name: stuck
-- prepare: tasks bigint[]
-- A job of each of these tasks whose log is to be merged, where all logs are used up.
SELECT d.jeditaskid AS task, c.pandaid
  FROM {panda}.jedi_datasets d
 CROSS JOIN LATERAL (SELECT pandaid FROM {panda}.jedi_dataset_contents c
                      WHERE c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid AND c.status = 'ready'
                        AND c.pandaid = c.outpandaid LIMIT 1) c
 WHERE d.jeditaskid = ANY (%(tasks)s) AND d.type = 'trn_log' AND d.nfilesused = d.nfilestobeused
