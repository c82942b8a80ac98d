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
