-- name: workers
-- What Harvesters have said of their workers of late.
SELECT computingsite, harvester_id, resourcetype, status, sum(n_workers) AS number
  FROM {panda}.harvester_worker_stats WHERE lastupdate > %(since)s GROUP BY 1, 2, 3, 4

-- name: waiting
-- The activated jobs of a queue, counted by what decides which is served first.
SELECT coalesce(gshare, 'Undefined') AS share, currentpriority AS priority,
       coalesce(resource_type, 'Undefined') AS resource_type, count(*)::int AS number
  FROM {panda}.jobsactive4 WHERE computingsite = %(queue)s AND jobstatus = 'activated' GROUP BY 1, 2, 3
