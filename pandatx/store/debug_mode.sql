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
