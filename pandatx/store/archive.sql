-- name: guard
-- Plans by index, whatever the tables held when they were made (reference/database.md 7): the pool of daemons has no guards.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true)

-- name: lock
-- prepare: ids bigint[]
-- Whole rows of active jobs that nobody else holds, locked in the order of PandaIDs (rule R1).
SELECT {columns} FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE SKIP LOCKED

-- name: lock_defined
-- prepare: ids bigint[]
-- The same of jobs that are not activated yet.
SELECT {columns} FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE SKIP LOCKED

-- name: lock_again
-- prepare: ids bigint[]
-- What may have changed in jobs that were read before, locked.
SELECT pandaid, attemptnr, {changed} FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)
 ORDER BY pandaid FOR UPDATE SKIP LOCKED

-- name: lock_wait
SELECT set_config('lock_timeout', %(milliseconds)s, true)

-- name: wait_active
-- prepare: ids bigint[]
-- Wait for those that hold rows of active jobs.
SELECT pandaid FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE

-- name: wait_defined
-- prepare: ids bigint[]
SELECT pandaid FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE

-- name: alive
-- prepare: ids bigint[]
-- Which of the jobs are not archived, locked by others or not.
SELECT pandaid FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s)

-- name: read
-- prepare: ids bigint[]
-- Active jobs, not locked.
SELECT {columns} FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)

-- name: files
-- prepare: ids bigint[]
SELECT {file_columns} FROM {panda}.filestable4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid, row_id

-- name: archive
-- prepare: rows json, files json, ids bigint[], now timestamp
-- Move locked jobs to the archive with what changes in them; all their rows get the same time, since tables that are found may be
-- partitioned by it. The whole of a job's end is one statement (reference/database.md 5).
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s) v(pandaid bigint, logged boolean, {typed})),
 d AS (DELETE FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s) RETURNING {columns}),
 e AS (DELETE FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s) RETURNING {columns}),
 a AS (INSERT INTO {panda}.jobsarchived4 ({columns})
   SELECT {moved} FROM (SELECT * FROM d UNION ALL SELECT * FROM e) j JOIN v ON v.pandaid = j.pandaid
   RETURNING pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost),
 f AS (UPDATE {panda}.filestable4 f SET modificationtime = %(now)s, {file_assignments}
   FROM json_to_recordset(%(files)s) w({file_typed}) WHERE f.row_id = w.row_id),
 p AS (UPDATE {panda}.jobparamstable SET modificationtime = %(now)s WHERE pandaid = ANY (%(ids)s)),
 m AS (UPDATE {panda}.metatable SET modificationtime = %(now)s WHERE pandaid = ANY (%(ids)s)),
 r AS (DELETE FROM {panda}.job_output_report WHERE pandaid = ANY (%(ids)s)),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
   SELECT a.pandaid, a.modificationtime, a.jobstatus, a.prodsourcelabel, a.cloud, a.computingsite, a.modificationhost,
          a.modificationtime FROM a JOIN v ON v.pandaid = a.pandaid WHERE v.logged)
SELECT pandaid, pg_current_xact_id()::text::bigint AS xid FROM a

-- name: note_failures
-- prepare: names text[]
-- Dispatch blocks of which a job has failed, once for each: datasetManager asks for it.
UPDATE {panda}.datasets SET currentfiles = 1
 WHERE vuid = ANY (ARRAY(SELECT vuid FROM {panda}.datasets
   WHERE name = ANY (%(names)s) AND type = 'dispatch' AND coalesce(currentfiles, 0) = 0 ORDER BY name, vuid FOR UPDATE))

-- name: keep
-- prepare: rows json, files json, ids bigint[]
-- Change locked active jobs that go on, and their files; their reports have had their effect.
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s) v(pandaid bigint, logged boolean, {typed})),
 u AS (UPDATE {panda}.jobsactive4 j SET {assignments} FROM v WHERE j.pandaid = v.pandaid
   RETURNING j.pandaid, j.modificationtime, j.jobstatus, j.prodsourcelabel, j.cloud, j.computingsite,
             j.modificationhost, v.logged),
 f AS (UPDATE {panda}.filestable4 f SET {file_assignments}
   FROM json_to_recordset(%(files)s) w({file_typed}) WHERE f.row_id = w.row_id),
 r AS (DELETE FROM {panda}.job_output_report WHERE pandaid = ANY (%(ids)s)),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
   SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
          modificationtime FROM u WHERE logged)
SELECT pandaid, pg_current_xact_id()::text::bigint AS xid FROM u

-- name: add_files
-- Rows of files that a job made beside those that it was to make.
INSERT INTO {panda}.filestable4 (row_id, modificationtime, {new_file_columns})
SELECT nextval('{panda}.filestable4_row_id_seq'), %(now)s, {new_file_values}
  FROM json_to_recordset(%(rows)s) w({new_file_typed})

-- name: wire_builds
-- What builds have made, for the jobs that wait for it.
UPDATE {panda}.filestable4 f SET guid = b.guid, fsize = b.fsize, checksum = b.checksum
  FROM json_to_recordset(%(rows)s) b(definition bigint, owner text, task bigint, lfn text, guid text, fsize bigint, checksum text)
  JOIN LATERAL {behind}
 WHERE f.pandaid = j.pandaid AND f.lfn = b.lfn AND f.type = 'input'

-- name: behind_builds
-- Jobs that wait for what a build was to make.
SELECT DISTINCT j.pandaid
  FROM unnest(%(definitions)s::bigint[], %(owners)s::text[], %(tasks)s::bigint[], %(lfns)s::text[]) b(definition, owner, task, lfn)
  JOIN LATERAL {behind}
  JOIN {panda}.filestable4 f ON f.pandaid = j.pandaid AND f.lfn = b.lfn AND f.type = 'input'
 ORDER BY j.pandaid
