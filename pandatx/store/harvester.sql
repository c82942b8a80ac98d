-- name: owner
SELECT owner FROM {panda}.harvester_instances WHERE harvester_id = %(harvester)s

-- name: heartbeat
-- A Harvester lives, and what it says of itself; it is whose it was first, unless one with a role says otherwise.
INSERT INTO {panda}.harvester_instances AS i (harvester_id, description, owner, hostname, lastupdate, starttime, sw_version,
                                              commit_stamp)
VALUES (%(harvester)s, 'automatic', %(owner)s, %(host)s, %(now)s, %(started)s, %(version)s, %(stamp)s)
ON CONFLICT (harvester_id) DO UPDATE SET owner = excluded.owner, hostname = excluded.hostname,
    lastupdate = excluded.lastupdate, starttime = coalesce(excluded.starttime, i.starttime),
    sw_version = coalesce(excluded.sw_version, i.sw_version),
    commit_stamp = coalesce(excluded.commit_stamp, i.commit_stamp)
 WHERE %(trusted)s OR i.owner IS NULL OR i.owner = excluded.owner
RETURNING harvester_id

-- name: wish
-- The commands that a Harvester takes; a lock that is there stays as it is, a new one is free.
INSERT INTO {panda}.harvester_command_lock (harvester_id, computingsite, resourcetype, command, lockedtime)
SELECT DISTINCT %(harvester)s, queue, kind, command, %(free)s::timestamp
  FROM unnest(%(queues)s::text[], %(kinds)s::text[], %(commands)s::text[]) v(queue, kind, command) ORDER BY 2, 3, 4
ON CONFLICT (harvester_id, computingsite, resourcetype, command) DO NOTHING

-- name: dialogs
-- Messages, each instead of those of its number.
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s::json) v(diagid bigint, modulename text, identifier text,
   creationtime timestamp, messagelevel text, diagmessage text)),
 gone AS (DELETE FROM {panda}.harvester_dialogs WHERE harvester_id = %(harvester)s AND diagid = ANY (%(ids)s::bigint[]))
INSERT INTO {panda}.harvester_dialogs (harvester_id, diagid, modulename, identifier, creationtime, messagelevel, diagmessage)
SELECT %(harvester)s, diagid, modulename, identifier, creationtime, messagelevel, diagmessage FROM v

-- name: metrics
-- Figures of machines; what is sent again, since its answer was lost, is not kept twice.
INSERT INTO {panda}.harvester_metrics (harvester_id, creation_time, harvester_host, metrics)
SELECT %(harvester)s, v.creation_time, v.host, v.metrics
  FROM json_to_recordset(%(rows)s::json) v(creation_time timestamp, host text, metrics text)
 WHERE (SELECT 1 FROM {panda}.harvester_metrics m WHERE m.harvester_id = %(harvester)s
           AND m.creation_time = v.creation_time AND m.harvester_host = v.host LIMIT 1) IS NULL

-- name: queue_up
-- One at a time of those that wish for slots: a key with NULLs in it keeps nobody from making a second row.
SELECT pg_advisory_xact_lock(hashtext('slots of queues'), hashtext(%(queue)s))

-- name: set_slots
-- How many slots a queue is to fill, instead of what was wished before.
WITH u AS (UPDATE {panda}.harvester_slots SET numslots = %(slots)s, modificationtime = %(now)s, expirationtime = %(until)s
   WHERE pandaqueuename = %(queue)s AND gshare IS NOT DISTINCT FROM %(share)s
     AND resourcetype IS NOT DISTINCT FROM %(kind)s RETURNING 1)
INSERT INTO {panda}.harvester_slots (pandaqueuename, gshare, resourcetype, numslots, modificationtime, expirationtime)
SELECT %(queue)s, %(share)s, %(kind)s, %(slots)s, %(now)s, %(until)s::timestamp WHERE NOT EXISTS (SELECT 1 FROM u)

-- name: drop_slots
DELETE FROM {panda}.harvester_slots WHERE pandaqueuename = %(queue)s AND gshare IS NOT DISTINCT FROM %(share)s
   AND resourcetype IS NOT DISTINCT FROM %(kind)s
