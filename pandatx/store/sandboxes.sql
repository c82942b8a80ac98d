-- name: untouched
-- prepare: since timestamp, after timestamp, last text, n int
-- Sandboxes that came since a time and that nobody has touched; the next ones in the order of their arrival.
SELECT username, filename, hostname, creationtime FROM {meta}.usercacheusage
 WHERE creationtime > %(since)s AND (creationtime, filename) > (%(after)s, %(last)s)
   AND (modificationtime IS NULL OR modificationtime <= creationtime)
   AND (filename LIKE 'sources%%' OR filename LIKE 'jobO%%')
 ORDER BY creationtime, filename LIMIT %(n)s

-- name: touch
-- prepare: filenames text[], hostnames text[], created timestamp[], now timestamp
UPDATE {meta}.usercacheusage u SET modificationtime = %(now)s
  FROM unnest(%(filenames)s, %(hostnames)s, %(created)s) v(filename, hostname, created)
 WHERE u.filename = v.filename AND u.hostname = v.hostname AND u.creationtime = v.created

-- name: take
-- prepare: before timestamp, n int, now timestamp
-- Sandboxes that nobody has looked at since a time; they count as looked at, so that no other server takes them.
UPDATE {meta}.usercacheusage u SET modificationtime = %(now)s
  FROM (SELECT filename, hostname, creationtime FROM {meta}.usercacheusage
         WHERE coalesce(modificationtime, creationtime) < %(before)s
           AND (filename LIKE 'sources%%' OR filename LIKE 'jobO%%')
         ORDER BY coalesce(modificationtime, creationtime) LIMIT %(n)s FOR UPDATE SKIP LOCKED) v
 WHERE u.filename = v.filename AND u.hostname = v.hostname AND u.creationtime = v.creationtime
RETURNING u.username, u.filename, u.hostname, u.creationtime

-- name: forget
-- prepare: filenames text[], hostnames text[], created timestamp[]
DELETE FROM {meta}.usercacheusage u USING unnest(%(filenames)s, %(hostnames)s, %(created)s) v(filename, hostname, created)
 WHERE u.filename = v.filename AND u.hostname = v.hostname AND u.creationtime = v.created

-- name: remove
-- prepare: filename text, hostname text, created timestamp
-- What an older file of this name on this host was called.
DELETE FROM {meta}.usercacheusage
 WHERE filename = %(filename)s AND hostname = %(hostname)s AND creationtime <= %(created)s

-- name: insert
-- prepare: username text, filename text, hostname text, filesize bigint, checksum text, created timestamp
-- A sandbox; one that is noted already stays as it is.
INSERT INTO {meta}.usercacheusage
       (username, filename, hostname, filesize, checksum, creationtime, modificationtime)
VALUES (%(username)s, %(filename)s, %(hostname)s, %(filesize)s, %(checksum)s, %(created)s, %(created)s)
    ON CONFLICT (filename, hostname, creationtime) DO NOTHING

-- name: hold
-- prepare: filename text, hostname text
-- One after the other for each file of a host.
SELECT pg_advisory_xact_lock(hashtextextended(%(filename)s || ' ' || %(hostname)s, 20))

-- name: places
-- prepare: filename text
-- Where a file is, and whose it is; the newest first.
SELECT username, filename, hostname, filesize, checksum, creationtime FROM {meta}.usercacheusage
 WHERE filename = %(filename)s ORDER BY creationtime DESC LIMIT 20

-- name: same
-- prepare: username text, filesize bigint, checksum text, since timestamp, nowhere text
-- What a user has sent lately that looks like the same file; the newest first.
SELECT username, filename, hostname, filesize, checksum, creationtime FROM {meta}.usercacheusage
 WHERE username = %(username)s AND creationtime > %(since)s
   AND filesize = %(filesize)s AND checksum = %(checksum)s AND hostname <> %(nowhere)s
 ORDER BY creationtime DESC LIMIT 20
