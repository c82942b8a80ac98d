-- name: take
-- Take a sync daemon's lock if its period is over, if it is this very run's already (the statement came twice), or,
-- with may_repeat, if we were the last to hold it. One row: whether it is ours now, and the lock's time.
WITH taken AS (
    INSERT INTO {panda}.jedi_process_lock AS held
           (vo, prodsourcelabel, cloud, workqueue_id, resource_type, component, lockedby, lockedtime)
    VALUES ('default', 'default', 'default', 0, 'default', %(component)s, %(holder)s, %(start)s)
    ON CONFLICT (vo, prodsourcelabel, workqueue_id, cloud, resource_type, component)
    DO UPDATE SET lockedby = excluded.lockedby, lockedtime = excluded.lockedtime
     WHERE held.lockedtime IS NULL
        OR held.lockedtime <= %(free_before)s
        OR (held.lockedby = excluded.lockedby AND (%(may_repeat)s OR held.lockedtime = excluded.lockedtime))
    RETURNING lockedtime)
SELECT TRUE AS ours, lockedtime FROM taken
UNION ALL
SELECT FALSE, lockedtime
  FROM {panda}.jedi_process_lock
 WHERE vo = 'default' AND prodsourcelabel = 'default' AND cloud = 'default' AND workqueue_id = 0
   AND resource_type = 'default' AND component = %(component)s
   AND NOT EXISTS (SELECT FROM taken);

-- name: move
-- Set the time of a lock that is still the holder's; no row means it is lost.
UPDATE {panda}.jedi_process_lock
   SET lockedtime = %(locked_time)s
 WHERE vo = 'default' AND prodsourcelabel = 'default' AND cloud = 'default' AND workqueue_id = 0
   AND resource_type = 'default' AND component = %(component)s AND lockedby = %(holder)s;
