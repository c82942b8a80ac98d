-- name: add
-- Requests of this server, by queue and minute.
INSERT INTO {own}.request_counts AS c (instance, queue, minute, get_job, no_job, update_job)
SELECT %(instance)s, queue, %(minute)s, get_job, no_job, update_job
  FROM unnest(%(queues)s::text[], %(get_job)s::bigint[], %(no_job)s::bigint[], %(update_job)s::bigint[])
       v(queue, get_job, no_job, update_job)
ON CONFLICT (instance, queue, minute) DO UPDATE SET get_job = c.get_job + excluded.get_job,
    no_job = c.no_job + excluded.no_job, update_job = c.update_job + excluded.update_job

-- name: forget
DELETE FROM {own}.request_counts WHERE minute < %(before)s
