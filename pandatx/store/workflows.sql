-- name: insert
-- prepare: name text, label text, owner text, now timestamp, raw text, definition text
-- A workflow for its engine: as its user wrote it, or as the engine reads it.
INSERT INTO {panda}.workflows (workflow_id, name, status, prodsourcelabel, username, creation_time, raw_request_json,
                               definition_json)
VALUES (nextval('{panda}.workflow_id_seq'), %(name)s, 'registered', %(label)s, %(owner)s, %(now)s, %(raw)s::jsonb,
        %(definition)s::jsonb)
RETURNING workflow_id, pg_current_xact_id()::text::bigint AS xid

-- name: find
-- prepare: id bigint
SELECT workflow_id, name, status, username, prodsourcelabel, parent_id, raw_request_json IS NOT NULL AS raw,
       parameters->>'reason' AS reason
  FROM {panda}.workflows WHERE workflow_id = %(id)s

-- name: steps
-- prepare: id bigint
SELECT step_id, member_id, name, status, flavor, target_id, definition_json->>'id' AS node,
       definition_json->'parents' AS parents, definition_json->'task_params'->>'prodSourceLabel' AS label,
       parameters->>'reason' AS reason
  FROM {panda}.workflow_steps WHERE workflow_id = %(id)s ORDER BY step_id

-- name: data
-- prepare: id bigint
SELECT name, status, type, target_id FROM {panda}.workflow_data WHERE workflow_id = %(id)s ORDER BY data_id

-- name: progress
-- prepare: tasks bigint[]
-- The files of the master inputs of tasks, and how many of them are done.
SELECT jeditaskid, coalesce(sum(nfiles), 0)::bigint AS n, coalesce(sum(nfilesfinished), 0)::bigint AS finished,
       coalesce(sum(nfilesfailed), 0)::bigint AS failed
  FROM {panda}.jedi_datasets
 WHERE jeditaskid = ANY (%(tasks)s) AND type IN ('input', 'pseudo_input') AND masterid IS NULL GROUP BY jeditaskid
