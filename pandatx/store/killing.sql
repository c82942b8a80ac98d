-- name: flag
-- prepare: ids bigint[], diag text
-- Running jobs whose pilots are to hear that they are killed.
UPDATE {panda}.jobsactive4 SET commandtopilot = 'tobekilled', taskbuffererrordiag = %(diag)s WHERE pandaid = ANY (%(ids)s)

-- name: pending
-- The command that waits for a job's pilot; the job is locked.
SELECT commandtopilot FROM {panda}.jobsdefined4 WHERE pandaid = %(id)s FOR UPDATE

-- name: pending_active
SELECT commandtopilot FROM {panda}.jobsactive4 WHERE pandaid = %(id)s FOR UPDATE

-- name: set_command
UPDATE {panda}.jobsdefined4 SET commandtopilot = %(command)s WHERE pandaid = %(id)s

-- name: set_command_active
UPDATE {panda}.jobsactive4 SET commandtopilot = %(command)s WHERE pandaid = %(id)s

-- name: redefine
-- prepare: ids bigint[], now timestamp
-- Jobs that were not activated yet begin again.
WITH b AS MATERIALIZED (SELECT pandaid, jobstatus FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s)),
 u AS (UPDATE {panda}.jobsdefined4 j SET jobstatus = 'defined', modificationtime = %(now)s,
    statechangetime = CASE WHEN j.jobstatus = 'defined' THEN j.statechangetime ELSE %(now)s END
   FROM b WHERE j.pandaid = b.pandaid AND j.jobstatus IN ('pending', 'defined', 'assigned') AND j.commandtopilot IS NULL
   RETURNING j.pandaid, j.modificationtime, j.jobstatus, j.prodsourcelabel, j.cloud, j.computingsite,
             j.modificationhost, b.jobstatus AS before),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
   SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
          modificationtime FROM u WHERE before <> 'defined')
SELECT pandaid FROM u

-- name: reset
-- prepare: ids bigint[], now timestamp
-- Activated jobs go back to where they came from (reference/lifecycle.md 1.2).
WITH d AS (DELETE FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s) AND jobstatus = 'activated' RETURNING {columns}),
 a AS (INSERT INTO {panda}.jobsdefined4 ({columns}) SELECT {reset} FROM d
   RETURNING pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost, lockedby),
 f AS (UPDATE {panda}.filestable4 f SET
    status = CASE WHEN a.lockedby IS DISTINCT FROM 'jedi' THEN 'unknown' ELSE f.status END,
    dispatchdblock = NULL, destinationdblock = regexp_replace(f.destinationdblock, '_sub[0-9]+$', '')
   FROM a WHERE f.pandaid = a.pandaid),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
   SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
          modificationtime FROM a)
SELECT pandaid FROM a
