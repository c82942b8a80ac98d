-- name: lock_defined
-- A job that waits, as far as its debug mode depends on it; it is locked.
SELECT pandaid, produsername, jobstatus, specialhandling, workinggroup FROM {panda}.jobsdefined4
 WHERE pandaid = %(id)s FOR UPDATE

-- name: lock_active
SELECT pandaid, produsername, jobstatus, specialhandling, workinggroup FROM {panda}.jobsactive4
 WHERE pandaid = %(id)s FOR UPDATE

-- name: set_defined
UPDATE {panda}.jobsdefined4 SET specialhandling = %(tags)s WHERE pandaid = %(id)s

-- name: set_active
UPDATE {panda}.jobsactive4 SET specialhandling = %(tags)s WHERE pandaid = %(id)s

-- name: hold
-- Two who turn on jobs of one holder at once wait for each other.
SELECT pg_advisory_xact_lock(hashtextextended(%(holder)s, 21))

-- name: held
-- The jobs of a holder that are in debug mode and have not ended.
SELECT d.panda_id FROM {own}.debug_jobs d
 WHERE d.holder = %(holder)s
   AND (EXISTS (SELECT FROM {panda}.jobsactive4 j
                 WHERE j.pandaid = d.panda_id AND j.jobstatus = ANY (%(statuses)s::text[]))
     OR EXISTS (SELECT FROM {panda}.jobsdefined4 j
                 WHERE j.pandaid = d.panda_id AND j.jobstatus = ANY (%(statuses)s::text[])))
 ORDER BY d.panda_id

-- name: forget
-- The others of the holder are over.
DELETE FROM {own}.debug_jobs WHERE holder = %(holder)s AND NOT panda_id = ANY (%(held)s::bigint[])

-- name: note
INSERT INTO {own}.debug_jobs (panda_id, holder) VALUES (%(id)s, %(holder)s)
ON CONFLICT (panda_id) DO UPDATE SET holder = excluded.holder

-- name: let_go
DELETE FROM {own}.debug_jobs WHERE panda_id = %(id)s
