-- name: take
-- Take a sync daemon's lock if its period is over, or if it is this very run's already (the statement came twice). One
-- row: whether it is ours now, and the lock's time.
WITH taken AS (
    INSERT INTO {panda}.jedi_process_lock AS held
           (vo, prodsourcelabel, cloud, workqueue_id, resource_type, component, lockedby, lockedtime)
    VALUES ('default', 'default', 'default', 0, 'default', %(component)s, %(holder)s, %(start)s)
    ON CONFLICT (vo, prodsourcelabel, workqueue_id, cloud, resource_type, component)
    DO UPDATE SET lockedby = excluded.lockedby, lockedtime = excluded.lockedtime
     WHERE held.lockedtime IS NULL
        OR held.lockedtime <= %(free_before)s
        OR (held.lockedby = excluded.lockedby AND held.lockedtime = excluded.lockedtime)
    RETURNING lockedtime)
SELECT TRUE AS ours, lockedtime FROM taken
UNION ALL
SELECT FALSE, lockedtime
  FROM {panda}.jedi_process_lock
 WHERE vo = 'default' AND prodsourcelabel = 'default' AND cloud = 'default' AND workqueue_id = 0
   AND resource_type = 'default' AND component = %(component)s
   AND NOT EXISTS (SELECT FROM taken);

-- name: take_by_hand
-- Take a sync daemon's lock for a run that somebody asked for: also before its time, if the server that held it last lives,
-- tells of it, and has not been running it for some time. The holder before comes with it.
WITH before AS MATERIALIZED (
    SELECT lockedby, lockedtime FROM {panda}.jedi_process_lock
     WHERE vo = 'default' AND prodsourcelabel = 'default' AND cloud = 'default' AND workqueue_id = 0
       AND resource_type = 'default' AND component = %(component)s FOR UPDATE),
 taken AS (
    INSERT INTO {panda}.jedi_process_lock AS held
           (vo, prodsourcelabel, cloud, workqueue_id, resource_type, component, lockedby, lockedtime)
    SELECT 'default', 'default', 'default', 0, 'default', %(component)s, %(holder)s, %(start)s
     WHERE NOT EXISTS (SELECT FROM before b WHERE b.lockedtime > %(free_before)s
       AND NOT (b.lockedtime <= %(settled)s AND EXISTS (SELECT FROM {own}.daemons d WHERE d.server = b.lockedby
                AND d.name = %(daemon)s AND d.condition NOT IN ('running', 'stopping'))))
    ON CONFLICT (vo, prodsourcelabel, workqueue_id, cloud, resource_type, component)
    DO UPDATE SET lockedby = excluded.lockedby, lockedtime = excluded.lockedtime
     WHERE held.lockedtime IS NOT DISTINCT FROM (SELECT lockedtime FROM before)
    RETURNING lockedtime)
SELECT EXISTS (SELECT FROM taken) AS ours, (SELECT lockedtime FROM before) AS lockedtime,
       (SELECT lockedby FROM before) AS lockedby

-- name: hand_back
-- After a run by hand: when it started, and who runs the daemon otherwise.
UPDATE {panda}.jedi_process_lock
   SET lockedtime = %(locked_time)s, lockedby = coalesce(%(next_holder)s, lockedby)
 WHERE vo = 'default' AND prodsourcelabel = 'default' AND cloud = 'default' AND workqueue_id = 0
   AND resource_type = 'default' AND component = %(component)s AND lockedby = %(holder)s

-- name: move
-- Set the time of a lock that is still the holder's; no row means it is lost.
UPDATE {panda}.jedi_process_lock
   SET lockedtime = %(locked_time)s
 WHERE vo = 'default' AND prodsourcelabel = 'default' AND cloud = 'default' AND workqueue_id = 0
   AND resource_type = 'default' AND component = %(component)s AND lockedby = %(holder)s;
