-- name: counted
-- What pilots asked for since some minute, by queue and host; an instance that has left no row is a host of its own.
SELECT c.queue, coalesce(i.host, c.instance) AS host, sum(c.get_job)::bigint AS get_job, sum(c.no_job)::bigint AS no_job,
       sum(c.update_job)::bigint AS update_job
  FROM {own}.request_counts c LEFT JOIN {own}.instances i ON i.instance = c.instance
 WHERE c.minute > %(since)s GROUP BY 1, 2

-- name: kept
-- The rows of a window that were written in it.
SELECT site, flag, coalesce(getjobabs, getjob) AS get_job, coalesce(nojobabs, nojob, 0) AS no_job,
       coalesce(updatejobabs, updatejob) AS update_job
  FROM {meta}.sitedata WHERE hours = %(hours)s AND lastmod > %(since)s

-- name: forget
-- Rows that nobody has written for two days.
DELETE FROM {meta}.sitedata WHERE (site, flag, hours) IN (
   SELECT site, flag, hours FROM {meta}.sitedata WHERE lastmod < %(before)s ORDER BY 1, 2, 3 FOR UPDATE SKIP LOCKED)

-- name: reset
-- Nobody has asked within the window.
UPDATE {meta}.sitedata s SET getjob = 0, updatejob = 0, nojob = 0, getjobabs = 0, updatejobabs = 0, nojobabs = 0
  FROM (SELECT site, flag FROM {meta}.sitedata WHERE hours = %(hours)s AND lastmod < %(since)s
           AND (getjob, updatejob, coalesce(nojob, 0)) <> (0, 0, 0) ORDER BY site, flag FOR UPDATE SKIP LOCKED) old
 WHERE s.hours = %(hours)s AND s.site = old.site AND s.flag = old.flag

-- name: write
INSERT INTO {meta}.sitedata AS s (site, flag, hours, getjob, updatejob, nojob, getjobabs, updatejobabs, nojobabs, lastmod)
SELECT site, flag, %(hours)s, get_job, update_job, no_job, get_job, update_job, no_job, %(now)s
  FROM unnest(%(sites)s::text[], %(flags)s::text[], %(get_job)s::int[], %(no_job)s::int[], %(update_job)s::int[])
       v(site, flag, get_job, no_job, update_job)
ON CONFLICT (site, flag, hours) DO UPDATE SET getjob = excluded.getjob, updatejob = excluded.updatejob,
    nojob = excluded.nojob, getjobabs = excluded.getjobabs, updatejobabs = excluded.updatejobabs,
    nojobabs = excluded.nojobabs, lastmod = excluded.lastmod

-- name: forget_running
DELETE FROM {meta}.sitedata WHERE flag IN (%(snapshot)s, %(most)s) AND lastmod < %(before)s

-- name: running
-- How many jobs of users run at each queue now, and the most of the last day. The list of statuses is the index's.
WITH n AS (SELECT computingsite AS site, count(*)::int AS running FROM {panda}.jobsactive4
   WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging') AND jobstatus = 'running'
     AND prodsourcelabel IN ('user', 'panda') AND length(computingsite) <= 60 GROUP BY computingsite),
 w AS (INSERT INTO {meta}.sitedata (site, flag, hours, running, lastmod)
   SELECT site, %(snapshot)s, %(hours)s, running, %(now)s FROM n
   ON CONFLICT (site, flag, hours) DO UPDATE SET running = excluded.running, lastmod = excluded.lastmod),
 m AS (SELECT site, max(running) AS running FROM (
     SELECT site, running FROM {meta}.sitedata WHERE flag = %(snapshot)s AND lastmod >= %(before)s AND hours <> %(hours)s
     UNION ALL SELECT site, running FROM n) s GROUP BY site)
INSERT INTO {meta}.sitedata (site, flag, hours, running, lastmod) SELECT site, %(most)s, 0, running, %(now)s FROM m
ON CONFLICT (site, flag, hours) DO UPDATE SET running = excluded.running, lastmod = excluded.lastmod
