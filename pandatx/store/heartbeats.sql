-- name: lock
-- prepare: ids bigint[]
-- The rows that reports are judged by, locked in the order of PandaIDs; rows that others hold are left out (rule R2).
SELECT {row} FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE SKIP LOCKED

-- name: lock_waiting
-- prepare: ids bigint[]
-- The same, waiting for those that hold the rows.
SELECT {row} FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE

-- name: limit_lock_wait
SELECT set_config('lock_timeout', %(milliseconds)s, true)

-- name: active
-- prepare: ids bigint[]
-- Which of the jobs have a row, locked or not.
SELECT pandaid FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)

-- name: update
-- prepare: rows json, now timestamp
-- What the reports change, the status log and the worker links: of these not those that others write just now, who say the same
-- of them, in an order of theirs (rule R1). A key that a JSON row lacks keeps its column: HOT looks at values, not at the SET
-- list.
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s) v(pandaid bigint, clear_diag boolean, {typed})),
 u AS (UPDATE {panda}.jobsactive4 j SET {assignments},
    jobdispatchererrordiag = CASE WHEN v.clear_diag THEN NULL
                                  ELSE coalesce(v.jobdispatchererrordiag, j.jobdispatchererrordiag) END,
    computingelement = CASE WHEN v.jobstatus IS NULL THEN j.computingelement ELSE coalesce(
      (SELECT w.computingelement FROM {panda}.harvester_rel_jobs_workers r
         JOIN {panda}.harvester_workers w ON w.harvesterid = r.harvesterid AND w.workerid = r.workerid
        WHERE r.pandaid = j.pandaid ORDER BY r.workerid DESC LIMIT 1), j.computingelement) END
   FROM v WHERE j.pandaid = v.pandaid
   RETURNING j.pandaid, j.modificationtime, j.jobstatus, j.prodsourcelabel, j.cloud, j.computingsite,
             j.modificationhost, v.jobstatus AS changed),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
   SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
          modificationtime FROM u WHERE changed IS NOT NULL)
UPDATE {panda}.harvester_rel_jobs_workers r SET lastupdate = %(now)s
  FROM (SELECT k.harvesterid, k.workerid, k.pandaid FROM v JOIN {panda}.harvester_rel_jobs_workers k ON k.pandaid = v.pandaid
           FOR NO KEY UPDATE OF k SKIP LOCKED) k
 WHERE r.harvesterid = k.harvesterid AND r.workerid = k.workerid AND r.pandaid = k.pandaid

-- name: reports
-- prepare: rows json, now timestamp
-- Final reports for the Adder; the first one of an attempt stays.
INSERT INTO {panda}.job_output_report (pandaid, prodsourcelabel, jobstatus, attemptnr, data, timestamp)
SELECT pandaid, prodsourcelabel, jobstatus, attemptnr, data, %(now)s
  FROM json_to_recordset(%(rows)s) v(pandaid bigint, prodsourcelabel text, jobstatus text, attemptnr smallint, data text)
ON CONFLICT (pandaid, attemptnr) DO NOTHING

-- name: metadata
-- Job reports of payloads, once for each job.
INSERT INTO {panda}.metatable (pandaid, metadata)
SELECT pandaid, metadata FROM json_to_recordset(%(rows)s) v(pandaid bigint, metadata text)
 WHERE NOT EXISTS (SELECT 1 FROM {panda}.metatable m WHERE m.pandaid = v.pandaid)

-- name: stdout
-- The tail of the payload's output, for jobs in debug mode.
INSERT INTO {panda}.jobsdebug (pandaid, stdout)
SELECT pandaid, stdout FROM json_to_recordset(%(rows)s) v(pandaid bigint, stdout text)
ON CONFLICT (pandaid) DO UPDATE SET stdout = excluded.stdout

-- name: pilot_logs
INSERT INTO {panda}.pandalog (bintime, name, module, loguser, type, pid, loglevel, levelname, time, filename, line, message)
SELECT %(now)s, 'panda.mon.prod', 'JobDispatcher', '', 'pilotLog', pandaid, 20, 'INFO',
       to_char(%(now)s::timestamptz, 'YYYY-MM-DD HH24:MI:SS'), '', 0, message
  FROM json_to_recordset(%(rows)s) v(pandaid bigint, message text)

-- name: corrupted
-- Zip files that a merge job of the event service could not read, each once.
INSERT INTO {panda}.filestable4 (row_id, pandaid, jeditaskid, lfn, type, status, fsize)
SELECT nextval('{panda}.filestable4_row_id_seq'), j.pandaid, j.jeditaskid, v.lfn, 'zipinput', 'corrupted', 0
  FROM json_to_recordset(%(rows)s) v(pandaid bigint, lfn text)
  JOIN {panda}.jobsactive4 j ON j.pandaid = v.pandaid AND j.eventservice = 2
 WHERE NOT EXISTS (SELECT 1 FROM {panda}.filestable4 f
                    WHERE f.pandaid = v.pandaid AND f.type = 'zipinput' AND f.lfn = v.lfn)
