-- name: blocks
-- prepare: names text[]
-- Destination blocks with their status, and whether a file of them is still to come.
-- Not EXISTS: a plan made on small tables hashes all unknown files for it.
SELECT d.name, d.status, w.found IS NOT NULL AS waiting
  FROM (SELECT DISTINCT ON (name) name, status FROM {panda}.datasets WHERE name = ANY (%(names)s)
         ORDER BY name, type <> 'output', creationdate DESC) d
  LEFT JOIN LATERAL (SELECT 1 AS found FROM {panda}.filestable4 f
                      WHERE f.destinationdblock = d.name AND f.status = 'unknown' LIMIT 1) w ON true

-- name: lock_blocks
-- prepare: names text[]
SELECT vuid, name, status FROM {panda}.datasets WHERE name = ANY (%(names)s) AND type = 'output'
 ORDER BY name, vuid FOR UPDATE

-- name: close
-- prepare: names text[], statuses text[], now timestamp
-- Give locked blocks their status; one that has it already was closed by another process.
UPDATE {panda}.datasets d SET status = v.status, modificationdate = %(now)s
  FROM unnest(%(names)s, %(statuses)s) v(name, status)
 WHERE d.name = v.name AND d.type = 'output' AND d.status <> v.status AND d.status <> 'locked'
   AND d.status NOT IN ('cleanup', 'tobeclosed', 'completed', 'deleted')
RETURNING d.name

-- name: merge_blocks
-- Locked blocks that are complete and whose files are to be merged; once for each.
UPDATE {panda}.datasets SET status = 'tobeclosed', modificationdate = %(now)s
 WHERE name = ANY (%(names)s::text[]) AND type = 'output' AND status <> ALL (%(begun)s::text[])
RETURNING name

-- name: lock_merged
-- Their datasets in JEDI, locked: who counts files there first changes their rows.
SELECT d.jeditaskid, d.datasetid FROM unnest(%(tasks)s::bigint[], %(datasets)s::bigint[]) v(task, dataset)
  JOIN {panda}.jedi_datasets d ON d.jeditaskid = v.task AND d.datasetid = v.dataset
 ORDER BY d.jeditaskid, d.datasetid FOR UPDATE OF d

-- name: begin_merging
-- How many files there are to merge, and how many of them still wait for it: then JEDI makes the jobs that do it. In a
-- statement of its own, which sees what those have changed that held the rows before.
WITH n AS (SELECT v.jeditaskid, v.datasetid, count(c.fileid) AS files, count(c.fileid) FILTER (WHERE c.status = 'ready') AS ready
   FROM unnest(%(tasks)s::bigint[], %(datasets)s::bigint[]) v(jeditaskid, datasetid)
   LEFT JOIN {panda}.jedi_dataset_contents c
     ON c.jeditaskid = v.jeditaskid AND c.datasetid = v.datasetid AND c.pandaid IS NOT NULL
    AND (c.status IN ('finished', 'failed', 'cancelled', 'notmerged', 'ready', 'lost', 'broken', 'picked', 'nooutput')
      OR c.status = 'running' AND c.pandaid <> c.outpandaid)
  GROUP BY v.jeditaskid, v.datasetid)
UPDATE {panda}.jedi_datasets d SET nfilesonhold = 0, nfiles = n.files, nfilestobeused = n.files, nfilesused = n.files - n.ready,
       status = CASE WHEN n.ready > 0 THEN 'ready' ELSE 'done' END, modificationtime = %(now)s
  FROM n WHERE d.jeditaskid = n.jeditaskid AND d.datasetid = n.datasetid

-- name: register
-- prepare: names text[], numbers int[]
-- Files that locked blocks have got.
UPDATE {panda}.datasets d SET currentfiles = coalesce(d.currentfiles, 0) + v.n
  FROM unnest(%(names)s, %(numbers)s) v(name, n) WHERE d.name = v.name AND d.type = 'output'

-- name: arrived
-- The files of a block whose transfer is over.
UPDATE {panda}.filestable4 SET status = 'ready'
 WHERE row_id = ANY (ARRAY(SELECT row_id FROM {panda}.filestable4
   WHERE destinationdblock = %(name)s AND status = 'transferring' AND pandaid = ANY (%(ids)s::bigint[]) ORDER BY row_id FOR UPDATE))
RETURNING pandaid

-- name: jobs_in_transfer
-- Jobs with files of a block on their way.
SELECT DISTINCT pandaid FROM {panda}.filestable4
 WHERE destinationdblock = %(name)s AND status = 'transferring' ORDER BY pandaid

-- name: set_cleanup
UPDATE {panda}.datasets SET status = 'cleanup', modificationdate = %(now)s
 WHERE name = %(name)s AND type = 'output' AND status <> 'cleanup'
