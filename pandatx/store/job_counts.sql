-- name: alive
-- What was counted last of the jobs that have not ended.
SELECT computingsite AS site, jobstatus AS status, prodsourcelabel AS label, resource_type, gshare AS share, cloud,
       processingtype AS processing_type, njobs AS n
  FROM {own}.job_counts

-- name: ended
-- Jobs that have ended since a time, found by that time's index.
SELECT computingsite AS site, jobstatus AS status, prodsourcelabel AS label, resource_type, gshare AS share, cloud,
       processingtype AS processing_type, count(*) AS n
  FROM {panda}.jobsarchived4 WHERE modificationtime > %(since)s::timestamp
 GROUP BY 1, 2, 3, 4, 5, 6, 7
