-- name: job_ids
-- New PandaIDs, as runs of consecutive ones.
SELECT min(id) AS first, max(id) AS last FROM (
  SELECT id, id - row_number() OVER (ORDER BY id) AS run
    FROM (SELECT nextval('{panda}.jobsdefined4_pandaid_seq') AS id FROM generate_series(1, %(n)s)) s) r
 GROUP BY run ORDER BY 1

-- name: file_ids
-- New row_ids, likewise.
SELECT min(id) AS first, max(id) AS last FROM (
  SELECT id, id - row_number() OVER (ORDER BY id) AS run
    FROM (SELECT nextval('{panda}.filestable4_row_id_seq') AS id FROM generate_series(1, %(n)s)) s) r
 GROUP BY run ORDER BY 1

-- name: serials
-- Serial numbers of sub blocks, likewise; they begin anew after 9999999.
SELECT min(id) AS first, max(id) AS last FROM (
  SELECT id, id - row_number() OVER (ORDER BY id) AS run
    FROM (SELECT nextval('{panda}.subcounter_subid_seq') AS id FROM generate_series(1, %(n)s)) s) r
 GROUP BY run ORDER BY 1

-- name: lock_users
-- prepare: names text[]
-- The rows of users, locked; the table has no unique name, the oldest row counts.
SELECT id, name, coalesce(status, '') AS status, jobid, ncurrent, coalesce(gridpref, '') AS gridpref
  FROM {meta}.users WHERE name = ANY (%(names)s) ORDER BY id FOR UPDATE

-- name: lock_user_names
-- Two servers that make the same row wait for each other.
SELECT pg_advisory_xact_lock(hashtext('pandatx.users'))

-- name: add_users
INSERT INTO {meta}.users (id, name, dn, lastmod, firstjob, latestjob, jobid)
SELECT nextval('{meta}.users_id_seq'), name, left(dn, 150), %(now)s, %(now)s, %(now)s, 1
  FROM unnest(%(names)s::text[], %(dns)s::text[]) v(name, dn)
 WHERE NOT EXISTS (SELECT 1 FROM {meta}.users u WHERE u.name = v.name)

-- name: count_users
-- prepare: ids int[], numbers bigint[], now timestamp
UPDATE {meta}.users u SET jobid = v.number, latestjob = %(now)s, lastmod = %(now)s
  FROM unnest(%(ids)s, %(numbers)s) v(id, number) WHERE u.id = v.id

-- name: tasks_of
-- prepare: owner text, ids bigint[]
SELECT jeditaskid FROM {panda}.jedi_tasks WHERE jeditaskid = ANY (%(ids)s) AND username = %(owner)s

-- name: submit
-- prepare: jobs json, files json, parameters json
-- Jobs with their files, parameters and first rows of the status log.
WITH j AS (INSERT INTO {panda}.jobsdefined4 ({job_columns})
           SELECT {job_columns} FROM json_to_recordset(%(jobs)s) v({job_typed})
           RETURNING pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost),
 f AS (INSERT INTO {panda}.filestable4 ({file_columns})
       SELECT {file_columns} FROM json_to_recordset(%(files)s) v({file_typed})),
 p AS (INSERT INTO {panda}.jobparamstable (pandaid, jobparameters)
       SELECT pandaid, jobparameters FROM json_to_recordset(%(parameters)s) v(pandaid bigint, jobparameters text)),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
       SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
              modificationtime FROM j)
SELECT pg_current_xact_id()::text::bigint AS xid

-- name: metadata
INSERT INTO {panda}.metatable (pandaid, metadata)
SELECT pandaid, metadata FROM json_to_recordset(%(rows)s) v(pandaid bigint, metadata text)
