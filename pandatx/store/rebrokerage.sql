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
