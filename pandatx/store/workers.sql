-- name: limit_lock_wait
SELECT set_config('lock_timeout', %(milliseconds)s, true)

-- name: related
-- prepare: harvester text, ids bigint[], others bigint[]
-- The jobs of workers that may have something to say on them: of ``ids`` in any case, of ``others`` where the row tells of an
-- error or of an end; one of these without a job has NULL.
SELECT workerid, pandaid FROM {panda}.harvester_rel_jobs_workers
 WHERE harvesterid = %(harvester)s AND workerid = ANY (%(ids)s)
UNION SELECT w.workerid, r.pandaid
  FROM {panda}.harvester_workers w
  LEFT JOIN {panda}.harvester_rel_jobs_workers r ON r.harvesterid = w.harvesterid AND r.workerid = w.workerid
 WHERE w.harvesterid = %(harvester)s AND w.workerid = ANY (%(others)s)
   AND (w.errorcode <> 0 OR w.status IN ('finished', 'failed', 'cancelled', 'missed'))

-- name: owned
-- prepare: harvester text, owner text, workers bigint[], jobs bigint[]
-- Those of workers and their jobs where the job is active and this user's, or that are known already.
SELECT v.workerid, v.pandaid FROM unnest(%(workers)s, %(jobs)s) v(workerid, pandaid)
 WHERE (SELECT j.produsername FROM {panda}.jobsactive4 j WHERE j.pandaid = v.pandaid) = %(owner)s
    OR (SELECT r.pandaid FROM {panda}.harvester_rel_jobs_workers r
         WHERE r.harvesterid = %(harvester)s AND r.workerid = v.workerid AND r.pandaid = v.pandaid) IS NOT NULL

-- name: lock_jobs
-- prepare: ids bigint[]
-- The active jobs, locked in the order of PandaIDs (rule R1); the caller has limited the wait.
SELECT pandaid, jobstatus, attemptnr, prodsourcelabel, produsername, modificationtime FROM {panda}.jobsactive4
 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE

-- name: lock
-- prepare: harvester text, ids bigint[]
-- The workers that are known, the newest row of each last: lastUpdate is in the key, so that two servers may make two.
SELECT workerid, lastupdate, status, errorcode, diagmessage FROM {panda}.harvester_workers
 WHERE harvesterid = %(harvester)s AND workerid = ANY (%(ids)s) ORDER BY workerid, lastupdate FOR UPDATE

-- name: by_hash
-- For what follows in this transaction: hundreds of rows against hundreds, which the planner, that knows of a few only, would
-- compare each with each.
SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_nestloop', 'off', true)

-- name: drop_older
-- prepare: harvester text, ids bigint[], newest timestamp[]
-- Rows of workers that have a newer one.
DELETE FROM {panda}.harvester_workers w USING unnest(%(ids)s, %(newest)s) v(workerid, newest)
 WHERE w.harvesterid = %(harvester)s AND w.workerid = ANY (%(ids)s) AND w.workerid = v.workerid
   AND w.lastupdate < v.newest

-- name: save
-- prepare: harvester text, ids bigint[], rows json, now timestamp
-- Locked workers as their reports leave them, and new ones; a key that a JSON row lacks keeps its column.
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s) v(workerid bigint, was timestamp, {typed})),
 u AS (UPDATE {panda}.harvester_workers w SET lastupdate = %(now)s, {assignments} FROM v
   WHERE w.harvesterid = %(harvester)s AND w.workerid = ANY (%(ids)s) AND w.workerid = v.workerid
     AND w.lastupdate = v.was)
INSERT INTO {panda}.harvester_workers (harvesterid, workerid, lastupdate, {columns})
SELECT %(harvester)s, v.workerid, %(now)s, {columns} FROM v WHERE v.was IS NULL
ON CONFLICT DO NOTHING

-- name: relate
-- prepare: harvester text, listed bigint[], workers bigint[], jobs bigint[], now timestamp
-- The jobs of the workers in ``listed`` are those named for them, and no others.
WITH v AS MATERIALIZED (SELECT workerid, pandaid FROM unnest(%(workers)s, %(jobs)s) v(workerid, pandaid)),
 gone AS (DELETE FROM {panda}.harvester_rel_jobs_workers r
   WHERE r.harvesterid = %(harvester)s AND r.workerid = ANY (%(listed)s)
     AND NOT EXISTS (SELECT 1 FROM v WHERE v.workerid = r.workerid AND v.pandaid = r.pandaid))
INSERT INTO {panda}.harvester_rel_jobs_workers (harvesterid, workerid, pandaid, lastupdate)
SELECT %(harvester)s, v.workerid, v.pandaid, %(now)s FROM v ORDER BY v.workerid, v.pandaid
ON CONFLICT (harvesterid, workerid, pandaid) DO UPDATE SET lastupdate = excluded.lastupdate

-- name: tell_jobs
-- prepare: rows json
-- What the ends and errors of workers mean for their jobs, which are locked.
UPDATE {panda}.jobsactive4 j SET
    taskbuffererrorcode = coalesce(v.taskbuffererrorcode, j.taskbuffererrorcode),
    taskbuffererrordiag = coalesce(v.taskbuffererrordiag, j.taskbuffererrordiag),
    superrorcode = coalesce(v.superrorcode, j.superrorcode),
    superrordiag = coalesce(v.superrordiag, j.superrordiag),
    statechangetime = coalesce(v.statechangetime, j.statechangetime),
    starttime = CASE WHEN v.unstarted THEN NULL ELSE j.starttime END
  FROM json_to_recordset(%(rows)s) v(pandaid bigint, taskbuffererrorcode integer, taskbuffererrordiag text,
       superrorcode integer, superrordiag text, statechangetime timestamp, unstarted boolean)
 WHERE j.pandaid = v.pandaid

-- name: highest
-- prepare: harvester text
SELECT max(workerid) FROM {panda}.harvester_workers WHERE harvesterid = %(harvester)s

-- name: lock_statistics
-- Fails at once where another report on the same queue is being stored.
SELECT 1 FROM {panda}.harvester_worker_stats
 WHERE harvester_id = %(harvester)s AND computingsite = %(queue)s FOR UPDATE NOWAIT

-- name: count
-- The workers of a Harvester at a queue are those counted here, and no others.
WITH v AS MATERIALIZED (SELECT jobtype, resourcetype, status, n_workers
   FROM unnest(%(job_types)s::text[], %(resource_types)s::text[], %(statuses)s::text[], %(numbers)s::int[])
        v(jobtype, resourcetype, status, n_workers)),
 gone AS (DELETE FROM {panda}.harvester_worker_stats s
   WHERE s.harvester_id = %(harvester)s AND s.computingsite = %(queue)s
     AND NOT EXISTS (SELECT 1 FROM v WHERE v.jobtype = s.jobtype AND v.resourcetype = s.resourcetype
                                       AND v.status = s.status))
INSERT INTO {panda}.harvester_worker_stats AS s (harvester_id, computingsite, jobtype, resourcetype, status, n_workers,
                                                 lastupdate)
SELECT %(harvester)s, %(queue)s, jobtype, resourcetype, status, n_workers, %(now)s FROM v
ON CONFLICT (harvester_id, computingsite, resourcetype, status, jobtype)
   DO UPDATE SET n_workers = excluded.n_workers, lastupdate = excluded.lastupdate

-- name: statistics
-- What Harvesters have said of their workers of late.
SELECT computingsite, harvester_id, jobtype, resourcetype, status, n_workers FROM {panda}.harvester_worker_stats
 WHERE lastupdate >= %(since)s ORDER BY 1, 2, 3, 4, 5
