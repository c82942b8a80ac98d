-- name: lock_keys
-- Ids are counted up by hand: one writer at a time, readers go on.
LOCK TABLE {meta}.proxykey IN SHARE ROW EXCLUSIVE MODE

-- name: register_key
-- A new key for a client that has none so young.
INSERT INTO {meta}.proxykey (id, dn, credname, created, expires, origin, myproxy)
SELECT coalesce((SELECT max(id) FROM {meta}.proxykey), 0) + 1, %(client)s, %(key)s, %(now)s, %(expires)s, 'panda', 'NA'
 WHERE NOT EXISTS (SELECT FROM {meta}.proxykey WHERE dn = %(client)s AND expires > %(young)s)
RETURNING id

-- name: remove_expired_keys
DELETE FROM {meta}.proxykey WHERE expires < %(now)s

-- name: proxy_users
-- The DNs of users whose proxies are kept.
SELECT DISTINCT dn FROM {meta}.users
 WHERE gridpref LIKE '%%p%%' AND coalesce(dn, '') <> '' AND status IS DISTINCT FROM 'disabled' ORDER BY dn
