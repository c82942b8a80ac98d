-- name: replace
-- Commands for Harvesters, each instead of those of its name, whatever became of them.
WITH gone AS (DELETE FROM {panda}.harvester_commands c
   USING (SELECT DISTINCT * FROM unnest(%(harvesters)s::text[], %(commands)s::text[]) v(harvester, command)) v
   WHERE c.harvester_id = v.harvester AND c.command = v.command)
INSERT INTO {panda}.harvester_commands (command_id, command, harvester_id, ack_requested, creation_date, status,
                                        status_date, params)
SELECT nextval('{panda}.harvester_command_id_seq'), command, harvester, 0, %(now)s, 'new', %(now)s, params
  FROM unnest(%(harvesters)s::text[], %(commands)s::text[], %(params)s::text[]) WITH ORDINALITY
       v(harvester, command, params, place) ORDER BY place

-- name: add
-- A command beside others of its name, of which those are gone that say the same or that their Harvester has fetched.
WITH gone AS (DELETE FROM {panda}.harvester_commands WHERE harvester_id = %(harvester)s AND command = %(command)s
   AND (status <> 'new' OR params = %(params)s))
INSERT INTO {panda}.harvester_commands (command_id, command, harvester_id, ack_requested, creation_date, status,
                                        status_date, params)
VALUES (nextval('{panda}.harvester_command_id_seq'), %(command)s, %(harvester)s, 0, %(now)s, 'new', %(now)s, %(params)s)

-- name: take
-- The oldest commands that a Harvester has not fetched yet; they are then retrieved.
WITH c AS MATERIALIZED (SELECT command_id FROM {panda}.harvester_commands
   WHERE harvester_id = %(harvester)s AND status = 'new' ORDER BY creation_date, command_id
   LIMIT %(n)s FOR UPDATE SKIP LOCKED),
 u AS (UPDATE {panda}.harvester_commands h SET status = 'retrieved', status_date = %(now)s
   FROM c WHERE h.command_id = c.command_id
   RETURNING h.command_id, h.command, h.params, h.ack_requested, h.creation_date)
SELECT command_id, command, params, ack_requested, creation_date, pg_current_xact_id()::text::bigint FROM u
 ORDER BY creation_date, command_id

-- name: give_back
-- Commands that their Harvester has not heard of after all.
UPDATE {panda}.harvester_commands SET status = 'new'
 WHERE command_id = ANY (%(ids)s::bigint[]) AND status = 'retrieved' AND status_date = %(taken)s

-- name: give_back_all
-- The same of all that a Harvester was to get at some times, where nobody knows whether that was stored.
UPDATE {panda}.harvester_commands SET status = 'new'
 WHERE harvester_id = %(harvester)s AND status = 'retrieved' AND status_date = ANY (%(times)s::timestamp[])

-- name: acknowledge
-- Commands that their Harvester has dealt with.
UPDATE {panda}.harvester_commands SET status = 'acknowledged', status_date = %(now)s
 WHERE command_id = ANY (%(ids)s::bigint[])
