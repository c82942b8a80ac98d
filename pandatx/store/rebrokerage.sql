-- name: loads
-- prepare: since timestamp
-- Jobs by queue, share and VO that wait and that run, as the statistics have counted them; without jobs of work queues for
-- resources of their own, and without queues whose slots Harvester is given.
SELECT s.computingsite AS queue, s.gshare AS share, coalesce(s.vo, '') AS vo,
       coalesce(sum(s.njobs) FILTER (WHERE s.jobstatus IN ('defined', 'assigned', 'activated', 'starting')), 0)::bigint AS queued,
       coalesce(sum(s.njobs) FILTER (WHERE s.jobstatus = 'running'), 0)::bigint AS running
  FROM (SELECT computingsite, gshare, vo, jobstatus, njobs, workqueue_id FROM {panda}.jobs_share_stats WHERE ts >= %(since)s
        UNION ALL
        SELECT computingsite, gshare, vo, jobstatus, njobs, workqueue_id FROM {panda}.jobsdefined_share_stats
         WHERE ts >= %(since)s) s
 WHERE s.computingsite IS NOT NULL AND s.gshare IS NOT NULL AND s.workqueue_id IS NOT NULL
   AND s.workqueue_id NOT IN (SELECT queue_id FROM {panda}.jedi_work_queue WHERE queue_function = 'Resource')
   AND s.computingsite NOT IN (SELECT pandaqueuename FROM {panda}.harvester_slots)
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3

-- name: queued
-- prepare: queue text, share text, vo text, last bigint, n int
-- The oldest jobs of JEDI that wait in a share at a queue.
SELECT pandaid FROM (
  (SELECT pandaid FROM {panda}.jobsdefined4
    WHERE jobstatus IN ('defined', 'assigned') AND computingsite = %(queue)s AND gshare = %(share)s
      AND coalesce(vo, '') = %(vo)s AND lockedby = 'jedi' AND pandaid > %(last)s ORDER BY pandaid LIMIT %(n)s)
  UNION ALL
  (SELECT pandaid FROM {panda}.jobsactive4
    WHERE jobstatus = 'activated' AND computingsite = %(queue)s AND gshare = %(share)s
      AND coalesce(vo, '') = %(vo)s AND lockedby = 'jedi' AND pandaid > %(last)s ORDER BY pandaid LIMIT %(n)s)
  UNION ALL
  (SELECT pandaid FROM {panda}.jobsactive4
    WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging')
      AND jobstatus = 'starting' AND computingsite = %(queue)s AND gshare = %(share)s
      AND coalesce(vo, '') = %(vo)s AND lockedby = 'jedi' AND pandaid > %(last)s ORDER BY pandaid LIMIT %(n)s)) j
 ORDER BY pandaid LIMIT %(n)s

-- name: kept_waiting
-- prepare: last bigint, before timestamp, priority int, queues text[]
-- Of the next 5,000 active jobs: where the page ends, the queues at which urgent jobs of JEDI have waited for long, and those
-- of the jobs that are at the queues named.
WITH p AS MATERIALIZED (
  SELECT pandaid, jobstatus, computingsite, prodsourcelabel, lockedby, currentpriority, processingtype, relocationflag,
         modificationtime, statechangetime
    FROM {panda}.jobsactive4 WHERE pandaid > %(last)s ORDER BY pandaid LIMIT 5000),
 w AS (SELECT pandaid, computingsite FROM p
   WHERE prodsourcelabel = 'managed' AND lockedby = 'jedi' AND currentpriority >= %(priority)s AND computingsite IS NOT NULL
     AND processingtype IS DISTINCT FROM 'pmerge' AND coalesce(relocationflag, 0) <> 2
     AND (jobstatus = 'activated' AND modificationtime <= %(before)s
       OR jobstatus = 'starting' AND statechangetime <= %(before)s))
SELECT (SELECT max(pandaid) FROM p) AS last, (SELECT count(*) FROM p) AS n,
       (SELECT array_agg(DISTINCT computingsite) FROM w) AS queues,
       (SELECT array_agg(pandaid) FROM w WHERE computingsite = ANY (%(queues)s)) AS ids

-- name: last_starts
-- prepare: queues text[], since timestamp
-- When a job last began at each of these queues: as the site data say, or since a time as its jobs do.
SELECT queue, max(started) AS started FROM (
  SELECT site AS queue, laststart AS started FROM {meta}.sitedata
   WHERE site = ANY (%(queues)s) AND flag = 'production' AND hours = 3
  UNION ALL
  SELECT computingsite, starttime FROM {panda}.jobsactive4
   WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging')
     AND jobstatus IN ('running', 'holding', 'transferring', 'merging') AND computingsite = ANY (%(queues)s)
     AND starttime >= %(since)s
  UNION ALL
  SELECT computingsite, starttime FROM {panda}.jobsarchived4
   WHERE jobstatus IN ('finished', 'failed') AND modificationtime >= %(since)s AND computingsite = ANY (%(queues)s)
     AND starttime >= %(since)s) s
 WHERE started IS NOT NULL GROUP BY queue

-- name: groups_active
-- prepare: last bigint, before timestamp
-- Of the next 1,000 active jobs those of users' tasks that wait, by their groups; the first two columns tell where the page
-- ends, and there is always a row.
WITH p AS MATERIALIZED (
  SELECT pandaid, jobstatus, creationtime, jeditaskid, jobdefinitionid, jobsetid, computingsite, produsername, workinggroup,
         vo, prodsourcelabel, lockedby FROM {panda}.jobsactive4 WHERE pandaid > %(last)s ORDER BY pandaid LIMIT 1000)
SELECT e.last, e.n, g.* FROM (SELECT max(pandaid) AS last, count(*) AS n FROM p) e
  LEFT JOIN (SELECT jeditaskid, jobdefinitionid, computingsite, coalesce(produsername, ''), coalesce(workinggroup, ''),
                    coalesce(vo, ''), min(pandaid) AS first, max(creationtime) AS made FROM p
              WHERE jobstatus IN ('activated', 'starting') AND jobsetid IS NOT NULL AND {wanted}) g ON true

-- name: groups_defined
-- prepare: last bigint, before timestamp
-- The same of jobs that are not activated yet.
WITH p AS MATERIALIZED (
  SELECT pandaid, jobstatus, creationtime, jeditaskid, jobdefinitionid, jobsetid, computingsite, produsername, workinggroup,
         vo, prodsourcelabel, lockedby FROM {panda}.jobsdefined4 WHERE pandaid > %(last)s ORDER BY pandaid LIMIT 1000)
SELECT e.last, e.n, g.* FROM (SELECT max(pandaid) AS last, count(*) AS n FROM p) e
  LEFT JOIN (SELECT jeditaskid, jobdefinitionid, computingsite, coalesce(produsername, ''), coalesce(workinggroup, ''),
                    coalesce(vo, ''), min(pandaid) AS first, max(creationtime) AS made FROM p
              WHERE jobstatus IN ('assigned', 'defined') AND {wanted}) g ON true

-- name: activated_at
-- prepare: ids bigint[]
-- When jobs were activated.
SELECT pandaid, max(modificationtime) AS at FROM {panda}.jobs_statuslog
 WHERE pandaid = ANY (%(ids)s) AND jobstatus = 'activated' GROUP BY pandaid

-- name: lively
-- prepare: tasks bigint[], definitions bigint[], queues text[], owners text[], since timestamp, ignored text[]
-- The places, in the lists, of those groups of which a job has changed since a time.
SELECT DISTINCT g.place
  FROM unnest(%(tasks)s, %(definitions)s, %(queues)s, %(owners)s) WITH ORDINALITY g(task, definition, queue, owner, place)
  JOIN LATERAL (
    (SELECT 1 FROM {panda}.jobsactive4 j
      WHERE j.jeditaskid = g.task AND j.jobdefinitionid = g.definition AND j.computingsite = g.queue
        AND j.produsername = g.owner AND j.jobstatus <> ALL (%(ignored)s) AND j.statechangetime > %(since)s LIMIT 1)
    UNION ALL
    (SELECT 1 FROM {panda}.jobsarchived4 j
      WHERE j.jeditaskid = g.task AND j.jobdefinitionid = g.definition AND j.computingsite = g.queue
        AND j.produsername = g.owner AND j.jobstatus <> ALL (%(ignored)s) AND j.statechangetime > %(since)s LIMIT 1)) f ON true

-- name: waiting
-- prepare: task bigint, definition bigint, queue text
-- The jobs of a group that wait.
SELECT pandaid FROM {panda}.jobsdefined4
 WHERE jeditaskid = %(task)s AND jobstatus IN ('defined', 'assigned')
   AND jobdefinitionid = %(definition)s AND computingsite = %(queue)s
UNION ALL
SELECT pandaid FROM {panda}.jobsactive4
 WHERE jeditaskid = %(task)s AND jobstatus IN ('activated', 'starting')
   AND jobdefinitionid = %(definition)s AND computingsite = %(queue)s
