-- name: page
-- The descriptions of some queues, in the order of their names.
SELECT panda_queue, data::text AS data FROM {panda}.schedconfig_json
 WHERE panda_queue > %(after)s AND data IS NOT NULL ORDER BY panda_queue LIMIT %(limit)s

-- name: pilot_config
-- What is configured for the pilot.
SELECT vo, key, type, value, value_json FROM {panda}.config WHERE app = 'pilot' ORDER BY vo, component, key
