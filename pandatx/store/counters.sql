-- name: add
-- Requests of this server, by queue and minute.
INSERT INTO {own}.request_counts AS c (instance, queue, minute, get_job, no_job, update_job)
SELECT %(instance)s, queue, %(minute)s, get_job, no_job, update_job
  FROM unnest(%(queues)s::text[], %(get_job)s::bigint[], %(no_job)s::bigint[], %(update_job)s::bigint[])
       v(queue, get_job, no_job, update_job)
ON CONFLICT (instance, queue, minute) DO UPDATE SET get_job = c.get_job + excluded.get_job,
    no_job = c.no_job + excluded.no_job, update_job = c.update_job + excluded.update_job

-- name: set_last_start
-- When the last job began to run at these queues: brokers see by it which of them are alive.
UPDATE {meta}.sitedata s SET laststart = greatest(s.laststart, %(now)s)
  FROM (SELECT site, flag FROM {meta}.sitedata WHERE site = ANY (%(queues)s::text[]) AND hours = 3
           AND flag IN ('production', 'analysis') ORDER BY site, flag FOR UPDATE) l
 WHERE s.site = l.site AND s.flag = l.flag AND s.hours = 3

-- name: forget
DELETE FROM {own}.request_counts WHERE minute < %(before)s
