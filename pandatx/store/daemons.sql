-- name: tell
-- All that a server has to tell of its daemons; what it tells nothing more of goes.
WITH told AS (SELECT * FROM json_to_recordset(%(rows)s) t(name text, condition text, period float8, sync boolean, loop boolean,
       last_start timestamp, last_duration float8, next_start timestamp, runs bigint, failures bigint, last_error text,
       late boolean)),
 gone AS (DELETE FROM {own}.daemons WHERE server = %(server)s AND name NOT IN (SELECT name FROM told))
INSERT INTO {own}.daemons (server, name, condition, period, sync, loop, last_start, last_duration, next_start, runs, failures,
                           last_error, late)
SELECT %(server)s, name, condition, period, sync, loop, last_start, last_duration, next_start, runs, failures, last_error, late
  FROM told
ON CONFLICT (server, name) DO UPDATE SET condition = excluded.condition, period = excluded.period, sync = excluded.sync,
  loop = excluded.loop, last_start = excluded.last_start, last_duration = excluded.last_duration,
  next_start = excluded.next_start, runs = excluded.runs, failures = excluded.failures, last_error = excluded.last_error,
  late = excluded.late

-- name: forget
-- A server that runs daemons no more, and those that have not been seen for long.
DELETE FROM {own}.daemons d
 WHERE d.server = %(server)s
    OR NOT EXISTS (SELECT FROM {own}.instances i WHERE i.instance = d.server AND i.seen >= %(seen_since)s)

-- name: seen
-- The daemons of the servers that live, with the locks of those that are sync.
SELECT d.server, d.name, d.condition, d.period, d.sync, d.loop, d.last_start, d.last_duration, d.next_start, d.runs,
       d.failures, d.last_error, d.late, l.lockedby, l.lockedtime, p.name IS NOT NULL AS paused
  FROM {own}.daemons d
  JOIN {own}.instances i ON i.instance = d.server AND i.seen >= %(seen_since)s
  LEFT JOIN {own}.paused_daemons p ON p.name = d.name
  LEFT JOIN {panda}.jedi_process_lock l ON d.sync AND l.component = 'pandaD.' || d.name AND l.vo = 'default'
   AND l.prodsourcelabel = 'default' AND l.cloud = 'default' AND l.workqueue_id = 0 AND l.resource_type = 'default'
 ORDER BY d.name, d.server

-- name: paused
SELECT name FROM {own}.paused_daemons

-- name: pause
-- Nothing where no living server has such a daemon.
INSERT INTO {own}.paused_daemons (name, paused_by, since)
SELECT DISTINCT d.name, %(who)s, %(now)s::timestamp
  FROM {own}.daemons d JOIN {own}.instances i ON i.instance = d.server AND i.seen >= %(seen_since)s
 WHERE d.name = %(daemon)s
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING name

-- name: resume
DELETE FROM {own}.paused_daemons WHERE name = %(daemon)s
