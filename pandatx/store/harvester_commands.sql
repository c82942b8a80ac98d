-- name: replace
-- Commands for Harvesters, each instead of those of its name that its Harvester has not fetched or has dealt with.
WITH gone AS (DELETE FROM {panda}.harvester_commands c
   USING (SELECT DISTINCT * FROM unnest(%(harvesters)s::text[], %(commands)s::text[]) v(harvester, command)) v
   WHERE c.harvester_id = v.harvester AND c.command = v.command)
INSERT INTO {panda}.harvester_commands (command_id, command, harvester_id, ack_requested, creation_date, status,
                                        status_date, params)
SELECT nextval('{panda}.harvester_command_id_seq'), command, harvester, 0, %(now)s, 'new', %(now)s, params
  FROM unnest(%(harvesters)s::text[], %(commands)s::text[], %(params)s::text[]) WITH ORDINALITY
       v(harvester, command, params, place) ORDER BY place
