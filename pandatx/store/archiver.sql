-- name: ours
-- Whether pandatx made the tables of this database.
SELECT EXISTS (SELECT FROM {own}.migrations WHERE name = '0001_panda')

-- name: columns
-- The columns of the four tables and of those that their rows go to.
SELECT table_schema = %(arch)s AS archived, table_name, column_name FROM information_schema.columns
 WHERE (table_schema = %(panda)s AND table_name IN ('jobsarchived4', 'filestable4', 'jobparamstable', 'metatable'))
    OR (table_schema = %(arch)s
        AND table_name IN ('jobsarchived', 'filestable_arch', 'jobparamstable_arch', 'metatable_arch'))

-- name: in_background
-- By index, whatever the tables held when their statistics were made; batches are joined to themselves only, best by hash.
-- Nobody is answered, so no batch waits for the disk: one that a crash takes back is moved again.
SELECT set_config('enable_seqscan', 'off', true), set_config('synchronous_commit', 'off', true)

-- name: oldest
-- The next ended jobs by the time of their end, locked; what others hold waits for the next run.
SELECT pandaid, modificationtime FROM {panda}.jobsarchived4
 WHERE modificationtime >= %(since)s AND modificationtime < %(before)s
   AND pandaid <> ALL (%(but)s::bigint[])
 ORDER BY modificationtime LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: move
-- Locked jobs go to the archive's schema with all that is theirs. The rows beside a job get the time of its end, as those
-- of an ended job have it; rows of a job that was there twice are taken along once.
WITH j AS (DELETE FROM {panda}.jobsarchived4 WHERE pandaid = ANY (%(ids)s::bigint[]) RETURNING {columns}),
 k AS (SELECT pandaid, max(modificationtime) AS ended, min(creationtime) AS creationtime FROM j GROUP BY pandaid),
 f AS (DELETE FROM {panda}.filestable4 WHERE pandaid = ANY (%(ids)s::bigint[]) RETURNING {file_columns}),
 p AS (DELETE FROM {panda}.jobparamstable WHERE pandaid = ANY (%(ids)s::bigint[]) RETURNING pandaid, jobparameters),
 m AS (DELETE FROM {panda}.metatable WHERE pandaid = ANY (%(ids)s::bigint[]) RETURNING pandaid, metadata),
 fa AS (INSERT INTO {arch}.filestable_arch ({file_columns}, modificationtime, creationtime)
   SELECT {of_file}, k.ended, k.creationtime FROM f JOIN k ON k.pandaid = f.pandaid RETURNING 1),
 pa AS (INSERT INTO {arch}.jobparamstable_arch (pandaid, modificationtime, jobparameters)
   SELECT p.pandaid, k.ended, p.jobparameters FROM p JOIN k ON k.pandaid = p.pandaid RETURNING 1),
 ma AS (INSERT INTO {arch}.metatable_arch (pandaid, modificationtime, metadata)
   SELECT m.pandaid, k.ended, m.metadata FROM m JOIN k ON k.pandaid = m.pandaid RETURNING 1),
 ja AS (INSERT INTO {arch}.jobsarchived ({columns}) SELECT {columns} FROM j RETURNING 1)
SELECT (SELECT count(*) FROM ja) AS jobs, (SELECT count(*) FROM fa) AS files,
       (SELECT count(*) FROM pa) AS parameters, (SELECT count(*) FROM ma) AS metadata

-- name: waiting
-- How many jobs are to be moved.
SELECT count(*) FROM {panda}.jobsarchived4 WHERE modificationtime < %(before)s
