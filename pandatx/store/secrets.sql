-- name: make
-- A row for an owner that has none, so that there is something to lock.
INSERT INTO {panda}.secrets (owner, updated_at) VALUES (%(owner)s, %(now)s) ON CONFLICT (owner) DO NOTHING

-- name: lock
SELECT data FROM {panda}.secrets WHERE owner = %(owner)s FOR UPDATE

-- name: read
SELECT data FROM {panda}.secrets WHERE owner = %(owner)s

-- name: write
UPDATE {panda}.secrets SET data = %(data)s, updated_at = %(now)s WHERE owner = %(owner)s
