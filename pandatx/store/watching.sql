-- name: page
-- prepare: last bigint, sent_before timestamp, before timestamp
-- The next 5,000 active jobs, and those of them that were silent for long; the list is the index's own, word for word
-- (reference/database.md 6).
SELECT max(pandaid) AS last, count(*) AS n,
       array_agg(pandaid) FILTER (WHERE modificationtime < CASE jobstatus WHEN 'sent' THEN %(sent_before)s ELSE %(before)s END)
         AS silent,
       array_agg(pandaid) FILTER (WHERE jobstatus = 'merging') AS merging
  FROM (SELECT pandaid, modificationtime, jobstatus FROM {panda}.jobsactive4
         WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging') AND pandaid > %(last)s
         ORDER BY pandaid LIMIT 5000) x

-- name: reported
-- prepare: ids bigint[]
SELECT DISTINCT pandaid FROM {panda}.job_output_report WHERE pandaid = ANY (%(ids)s)

-- name: workers
-- prepare: ids bigint[]
-- The newest worker of each job.
SELECT DISTINCT ON (r.pandaid) r.pandaid, w.status, w.diagmessage
  FROM {panda}.harvester_rel_jobs_workers r
  JOIN {panda}.harvester_workers w ON w.harvesterid = r.harvesterid AND w.workerid = r.workerid
 WHERE r.pandaid = ANY (%(ids)s) ORDER BY r.pandaid, r.workerid DESC, w.lastupdate DESC
