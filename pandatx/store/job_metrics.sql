-- name: queuing_times
-- prepare: rows json, now timestamp
-- How long tasks had waited for jobs to run, among what else is noted of the jobs.
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s) v(pandaid bigint, jeditaskid bigint, data text)),
 u AS (UPDATE {panda}.job_metrics m SET modificationtime = %(now)s,
    data = CASE WHEN btrim(coalesce(m.data, '')) IN ('', '{' || '}', 'null') THEN v.data
                ELSE left(btrim(m.data), -1) || ', ' || substr(v.data, 2) END
   FROM v WHERE m.pandaid = v.pandaid AND coalesce(m.data, '') NOT LIKE '%%"queuingPeriod"%%')
INSERT INTO {panda}.job_metrics (pandaid, jeditaskid, creationtime, modificationtime, data)
SELECT pandaid, jeditaskid, %(now)s, %(now)s, data FROM v
 WHERE NOT EXISTS (SELECT 1 FROM {panda}.job_metrics m WHERE m.pandaid = v.pandaid)
