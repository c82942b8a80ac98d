-- name: page_defined
-- prepare: last bigint, statuses text[], labels text[], processing text, events int, since text, before timestamp, most int
-- The next 5,000 jobs that are not activated yet, of them the first ones of some kind that are older than a time; the first two
-- columns tell where the page ends, and there is always a row.
WITH p AS MATERIALIZED (SELECT {columns} FROM {panda}.jobsdefined4 WHERE pandaid > %(last)s ORDER BY pandaid LIMIT 5000)
SELECT e.last, e.n, p.* FROM (SELECT max(pandaid) AS last, count(*) AS n FROM p) e LEFT JOIN p ON {wanted}

-- name: page_active
-- prepare: last bigint, statuses text[], labels text[], processing text, events int, since text, before timestamp, most int
-- The same of all jobs in jobsactive4.
WITH p AS MATERIALIZED (SELECT {columns} FROM {panda}.jobsactive4 WHERE pandaid > %(last)s ORDER BY pandaid LIMIT 5000)
SELECT e.last, e.n, p.* FROM (SELECT max(pandaid) AS last, count(*) AS n FROM p) e LEFT JOIN p ON {wanted}

-- name: page_alive
-- prepare: last bigint, statuses text[], labels text[], processing text, events int, since text, before timestamp, most int
-- The same of those that a pilot has had; the list is the index's own, word for word (reference/database.md 6).
WITH p AS MATERIALIZED (SELECT {columns} FROM {panda}.jobsactive4
   WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging') AND pandaid > %(last)s
   ORDER BY pandaid LIMIT 5000)
SELECT e.last, e.n, p.* FROM (SELECT max(pandaid) AS last, count(*) AS n FROM p) e LEFT JOIN p ON {wanted}

-- name: makers
-- prepare: ids bigint[]
-- The jobs whose outputs merge jobs read, and their statuses in jobsactive4.
SELECT f.pandaid, f.datasetid, c.outpandaid, j.jobstatus
  FROM {panda}.filestable4 f
  JOIN {panda}.jedi_dataset_contents c
    ON c.jeditaskid = f.jeditaskid AND c.datasetid = f.datasetid AND c.fileid = f.fileid AND c.type <> 'lib'
  LEFT JOIN {panda}.jobsactive4 j ON j.pandaid = c.outpandaid
 WHERE f.pandaid = ANY (%(ids)s) AND f.type IN ('input', 'pseudo_input') AND c.outpandaid IS NOT NULL

-- name: jumbo_tasks
-- prepare: tasks bigint[]
-- Tasks with the files of their master inputs, and how many of them are done.
SELECT t.jeditaskid AS task, t.status, t.usejumbo AS use_jumbo, d.files, d.done
  FROM {panda}.jedi_tasks t
  LEFT JOIN LATERAL (
    SELECT coalesce(sum(nfiles), 0)::bigint AS files,
           coalesce(sum(coalesce(nfilesfinished, 0) + coalesce(nfilesfailed, 0)), 0)::bigint AS done
      FROM {panda}.jedi_datasets
     WHERE jeditaskid = t.jeditaskid AND type IN ('input', 'pseudo_input') AND masterid IS NULL) d ON true
 WHERE t.jeditaskid = ANY (%(tasks)s)

-- name: ended_builds
-- prepare: since timestamp, last bigint, before timestamp
-- The next 1,000 builds that ended without what they were to make, by the time of their ends, with their outputs.
SELECT b.modificationtime, b.pandaid, b.jobdefinitionid, b.produsername, f.lfn
  FROM (SELECT pandaid, jobdefinitionid, produsername, modificationtime FROM {panda}.jobsarchived4
         WHERE prodsourcelabel = 'panda' AND jobstatus IN ('failed', 'cancelled', 'closed')
           AND (modificationtime, pandaid) > (%(since)s, %(last)s) AND modificationtime <= %(before)s
         ORDER BY modificationtime, pandaid LIMIT 1000) b
  LEFT JOIN {panda}.filestable4 f ON f.pandaid = b.pandaid AND f.type = 'output'
 ORDER BY b.modificationtime, b.pandaid
