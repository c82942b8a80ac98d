-- name: newest
-- When the share statistics were written, and when one of our servers last did that.
SELECT (SELECT max(ts) FROM {panda}.jobs_share_stats) AS written,
       (SELECT at FROM {own}.counted WHERE what = 'share_statistics') AS ours

-- name: room
-- Jobs are put together in memory: sorted on disk instead they take six times as long.
SELECT set_config('work_mem', '64MB', true), set_config('enable_sort', 'off', true)

-- name: count
-- Count all jobs once: by share, queue and status for the ranks of shares, by user for the priority of new jobs (R12), and
-- for those that ask for statistics.
WITH {counted},
 n AS (SELECT username, sum(njobs) AS njobs FROM c WHERE username IS NOT NULL GROUP BY username),
 w AS (SELECT u.id, coalesce(n.njobs, 0) AS njobs FROM {meta}.users u LEFT JOIN n ON n.username = u.name
        WHERE u.ncurrent <> coalesce(n.njobs, 0)),
 u AS (UPDATE {meta}.users u SET ncurrent = w.njobs FROM w WHERE u.id = w.id),
 d AS (DELETE FROM {panda}.jobs_share_stats),
 m AS (INSERT INTO {own}.counted (what, at) VALUES ('share_statistics', %(now)s)
       ON CONFLICT (what) DO UPDATE SET at = excluded.at),
 {told}
INSERT INTO {panda}.jobs_share_stats (ts, gshare, computingsite, jobstatus, maxpriority, njobs, hs, vo, workqueue_id,
                                      resource_type, nucleus)
SELECT %(now)s, c.gshare, c.computingsite, c.jobstatus, max(c.maxpriority), sum(c.njobs),
       round(sum(c.cores) * coalesce(max(p.power), %(usual_power)s)), c.vo, c.workqueue_id, c.resource_type, c.nucleus
  FROM c LEFT JOIN unnest(%(queues)s::text[], %(powers)s::float8[]) p(queue, power) ON p.queue = c.computingsite
 GROUP BY c.gshare, c.computingsite, c.jobstatus, c.vo, c.workqueue_id, c.resource_type, c.nucleus

-- name: tell
-- Count all jobs for those that ask for statistics, where others count for the shares.
WITH {counted},
 {told}
SELECT count(*) AS n FROM c
