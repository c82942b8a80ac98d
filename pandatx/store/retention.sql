-- name: shape
-- Whether a table is there and in one piece, and how many pages it has.
SELECT c.relkind::text AS kind, pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s

-- name: drop_pages
-- What is old in some pages of a table. By pages, so that a table without an index on its time is read once, in small pieces.
DELETE FROM {table} WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND {time} < %(before)s

-- name: count_pages
SELECT count(*) FROM {table} WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND {time} < %(before)s

-- name: drop_jobs
-- Archived jobs that ended long ago, the oldest first, with all that is theirs.
WITH j AS (DELETE FROM {arch}.jobsarchived WHERE ctid = ANY (ARRAY(
     SELECT ctid FROM {arch}.jobsarchived WHERE statechangetime < %(before)s
      ORDER BY statechangetime LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING pandaid),
 f AS (DELETE FROM {arch}.filestable_arch WHERE pandaid = ANY (ARRAY(SELECT pandaid FROM j))),
 p AS (DELETE FROM {arch}.jobparamstable_arch WHERE pandaid = ANY (ARRAY(SELECT pandaid FROM j))),
 m AS (DELETE FROM {arch}.metatable_arch WHERE pandaid = ANY (ARRAY(SELECT pandaid FROM j)))
SELECT count(*) FROM j

-- name: count_jobs
SELECT count(*) FROM {arch}.jobsarchived WHERE statechangetime < %(before)s

-- name: last
-- When what is past its retention was last dropped, by table.
SELECT substr(what, length(%(what)s::text) + 1) AS table, at FROM {own}.counted WHERE starts_with(what, %(what)s::text)

-- name: done
INSERT INTO {own}.counted (what, at) VALUES (%(what)s, %(now)s) ON CONFLICT (what) DO UPDATE SET at = excluded.at
