-- name: differing
-- Queues that are not stored, or otherwise, by a digest of the text.
SELECT v.name FROM unnest(%(names)s::text[], %(digests)s::text[]) v(name, digest)
  LEFT JOIN {panda}.schedconfig_json q ON q.panda_queue = v.name
 WHERE md5(q.data::text) IS DISTINCT FROM v.digest
 ORDER BY v.name

-- name: put
-- Descriptions that are new or differ from what is stored.
INSERT INTO {panda}.schedconfig_json (panda_queue, data, last_update)
SELECT name, data::json, %(now)s FROM unnest(%(names)s::text[], %(documents)s::text[]) v(name, data) ORDER BY name
ON CONFLICT (panda_queue) DO UPDATE SET data = excluded.data, last_update = excluded.last_update
 WHERE schedconfig_json.data::text IS DISTINCT FROM excluded.data::text
RETURNING panda_queue

-- name: lacking
-- How many queues are stored, and how many of them the dump does not have.
SELECT count(*), count(*) FILTER (WHERE NOT panda_queue = ANY (%(names)s)) FROM {panda}.schedconfig_json

-- name: remove
-- Queues that the dump no longer has.
DELETE FROM {panda}.schedconfig_json WHERE NOT panda_queue = ANY (%(names)s) RETURNING panda_queue
