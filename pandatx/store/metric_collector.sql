-- name: lock
-- Take the lock of a metric if its period is over, as older servers do.
INSERT INTO {panda}.jedi_process_lock AS held
       (vo, prodsourcelabel, cloud, workqueue_id, resource_type, component, lockedby, lockedtime)
VALUES ('default', 'default', 'default', 0, 'default', %(component)s, %(holder)s, %(now)s)
ON CONFLICT (vo, prodsourcelabel, workqueue_id, cloud, resource_type, component)
DO UPDATE SET lockedby = excluded.lockedby, lockedtime = excluded.lockedtime
 WHERE held.lockedtime IS NULL OR held.lockedtime <= %(free_before)s
RETURNING TRUE

-- name: write
-- The values of a metric by queue and share, NULL as a text where it has none.
INSERT INTO {panda}.metrics (computingsite, gshare, metric, value_json, timestamp)
SELECT site, share, %(metric)s, value::json, %(now)s
  FROM unnest(%(sites)s::text[], %(shares)s::text[], %(values)s::text[]) v(site, share, value) ORDER BY 1, 2
ON CONFLICT (computingsite, gshare, metric) DO UPDATE SET value_json = excluded.value_json, timestamp = excluded.timestamp

-- name: read
SELECT computingsite, gshare, value_json::text AS value FROM {panda}.metrics
 WHERE metric = %(metric)s AND timestamp >= %(since)s AND value_json IS NOT NULL

-- name: share_use
-- HS that run and that wait, by share: what the daemon share_statistics, or pg_cron on a found database, counted.
SELECT gshare, coalesce(sum(hs) FILTER (WHERE jobstatus IN ('sent', 'running')), 0)::float8 AS running,
       coalesce(sum(hs) FILTER (WHERE jobstatus = 'activated'), 0)::float8 AS queuing
  FROM {panda}.jobs_share_stats WHERE gshare IS NOT NULL GROUP BY gshare

-- name: waits
-- How long merge and test jobs of users have waited that were heard of lately, by queue.
WITH j AS MATERIALIZED (
  SELECT pandaid, computingsite FROM {panda}.jobsarchived4
   WHERE modificationtime > %(since)s AND prodsourcelabel = 'user' AND gshare = 'User Analysis'
     AND (processingtype = 'pmerge' OR produsername = 'gangarbt')
  UNION SELECT pandaid, computingsite FROM {panda}.jobsactive4
   WHERE modificationtime > %(since)s AND prodsourcelabel = 'user' AND gshare = 'User Analysis'
     AND (processingtype = 'pmerge' OR produsername = 'gangarbt')
     AND jobstatus IN ('running', 'holding', 'merging', 'transferring'))
SELECT j.computingsite AS site, l.activated, l.running
  FROM j CROSS JOIN LATERAL (
     SELECT min(modificationtime) FILTER (WHERE jobstatus = 'activated') AS activated,
            min(modificationtime) FILTER (WHERE jobstatus = 'running') AS running
       FROM {panda}.jobs_statuslog s WHERE s.pandaid = j.pandaid) l
 WHERE j.computingsite IS NOT NULL AND l.running >= l.activated AND l.running <= %(now)s

-- name: long_queues
-- Merge jobs of users that have waited longer than is usual at their queue.
SELECT q.site, count(*)::int AS number, avg(extract(epoch FROM %(now)s::timestamp - j.creationtime))::float8 AS mean
  FROM unnest(%(sites)s::text[], %(means)s::float8[], %(pushed)s::bool[]) q(site, mean, pushed)
  JOIN {panda}.jobsactive4 j ON j.computingsite = q.site
 WHERE (j.jobstatus IN ('activated', 'sent') OR (j.jobstatus = 'starting' AND q.pushed))
   AND j.prodsourcelabel = 'user' AND j.gshare = 'User Analysis' AND j.processingtype = 'pmerge'
   AND j.creationtime < %(now)s::timestamp - q.mean * interval '1 second' GROUP BY q.site

-- name: started
-- Cores that have come to run at each queue since two moments. A job that started since then ended since then, too.
SELECT computingsite AS site, sum(cores) FILTER (WHERE starttime >= %(late)s)::float8 AS late, sum(cores)::float8 AS early
  FROM (SELECT computingsite, starttime, corecount AS cores FROM {panda}.jobsactive4
         WHERE starttime >= %(early)s AND starttime < %(end)s AND jobstatus IN ('running', 'holding', 'transferring')
        UNION ALL SELECT computingsite, starttime, corecount FROM {panda}.jobsarchived4
         WHERE modificationtime >= %(early)s AND starttime >= %(early)s AND starttime < %(end)s
           AND jobstatus IN ('finished', 'cancelled')) j
 WHERE computingsite IS NOT NULL GROUP BY computingsite

-- name: user_jobs
SELECT computingsite AS site, coalesce(gshare, 'Undefined') AS share, produsername AS "user", jobstatus AS status,
       count(*)::int AS number, sum(coalesce(nullif(corecount, 0), 1))::int AS cores
  FROM {panda}.jobsactive4
 WHERE prodsourcelabel = 'user' AND coalesce(processingtype, '') <> 'pmerge' AND produsername <> 'gangarbt'
   AND computingsite IS NOT NULL GROUP BY 1, 2, 3, 4

-- name: tasks
-- Analysis tasks that are under way, with the files of their main inputs and the jobs that they were given to.
SELECT t.jeditaskid AS task_id, t.username AS "user", t.gshare AS share, coalesce(d.files, 0)::int AS files,
       coalesce(d.finished, 0)::int AS finished, coalesce(d.failed, 0)::int AS failed, coalesce(c.jobs, 0)::int AS jobs
  FROM {panda}.jedi_tasks t
  LEFT JOIN LATERAL (SELECT sum(nfiles) AS files, sum(nfilesfinished) AS finished, sum(nfilesfailed) AS failed
     FROM {panda}.jedi_datasets d WHERE d.jeditaskid = t.jeditaskid AND d.type IN ('input', 'pseudo_input')
      AND d.masterid IS NULL) d ON TRUE
  LEFT JOIN LATERAL (SELECT count(DISTINCT c.pandaid) AS jobs FROM {panda}.jedi_datasets d
       JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = d.jeditaskid AND c.datasetid = d.datasetid
     WHERE d.jeditaskid = t.jeditaskid AND d.type IN ('input', 'pseudo_input') AND d.masterid IS NULL) c ON TRUE
 WHERE t.tasktype = 'anal' AND t.prodsourcelabel = 'user' AND t.username <> 'gangarbt'
   AND t.status IN ('scouting', 'scouted', 'running', 'pending', 'throttled') AND t.modificationtime >= %(since)s
   AND t.jeditaskid > %(after)s ORDER BY t.jeditaskid LIMIT %(limit)s

-- name: write_tasks
INSERT INTO {panda}.task_evaluation (jeditaskid, metric, value_json, timestamp)
SELECT task, %(metric)s, value, %(now)s FROM unnest(%(tasks)s::bigint[], %(values)s::text[]) v(task, value) ORDER BY 1
ON CONFLICT (jeditaskid, metric) DO UPDATE SET value_json = excluded.value_json, timestamp = excluded.timestamp

-- name: forget_tasks
-- Rows of tasks that are over, once they are old.
DELETE FROM {panda}.task_evaluation e USING {panda}.jedi_tasks t
 WHERE t.jeditaskid = e.jeditaskid AND e.metric = %(metric)s AND e.timestamp <= %(before)s
   AND t.status IN ('done', 'finished', 'failed', 'broken', 'aborted', 'exhausted')
