-- name: queue_versions
-- What changes when a queue's description is stored anew; the descriptions themselves are not looked at.
SELECT panda_queue, xmin::text || ctid::text AS version FROM {panda}.schedconfig_json WHERE data IS NOT NULL

-- name: queues
-- Some queues' descriptions, as the loader of queue descriptions stored them; NULL for one that is too large.
SELECT panda_queue, CASE WHEN length(data::text) <= %(largest)s THEN data::text END AS data FROM {panda}.schedconfig_json
 WHERE panda_queue = ANY (%(names)s) AND data IS NOT NULL

-- name: shares
SELECT name, value, parent, prodsourcelabel, workinggroup, processingtype, rtype FROM {panda}.global_shares ORDER BY name

-- name: share_use
-- HS in use by each share: what the daemon share_statistics, or pg_cron on a found database, counted.
SELECT gshare, coalesce(sum(hs), 0)::float8 AS hs FROM {panda}.jobs_share_stats
 WHERE jobstatus IN ('sent', 'running') GROUP BY gshare

-- name: memory_per_core
-- Mean memory per core of each queue's running jobs, MB.
SELECT computingsite, (sum(prorated_mem_avg * njobs) / nullif(sum(njobs), 0))::float8 AS memory
  FROM {panda}.jobs_share_stats WHERE jobstatus = 'running' AND prorated_mem_avg IS NOT NULL GROUP BY computingsite

-- name: resource_types
SELECT resource_name, mincore, maxcore, minrampercore, maxrampercore FROM {panda}.resource_types ORDER BY resource_name

-- name: config
-- Run-time parameters of the server and of JEDI.
SELECT app, component, key, vo, value, type, value_json FROM {panda}.config

-- name: banned
SELECT DISTINCT name FROM {meta}.users WHERE status = 'disabled'

-- name: banned_subjects
-- Whom the names of disabled users belong to: the holder of a token may go by another name tomorrow.
SELECT DISTINCT unnest(o.subject || o.also) AS subject FROM {meta}.users u JOIN {own}.owners o ON o.name = u.name
 WHERE u.status = 'disabled'

-- name: letters
-- The letters of users, by their compact names: what they may have beside what everybody has.
SELECT name, string_agg(gridpref, '') AS letters FROM {meta}.users
 WHERE status IS DISTINCT FROM 'disabled' AND gridpref <> '' GROUP BY name

-- name: token_keys
-- Keys of clients that have not expired, the longest-lived first.
SELECT dn AS client, credname AS key, expires FROM {meta}.proxykey WHERE expires > %(now)s ORDER BY expires DESC, id DESC

-- name: secret
SELECT data FROM {panda}.secrets WHERE owner = %(owner)s
