-- name: put_sites
-- Sites that are new or have changed.
INSERT INTO {panda}.site (site_name, role, tier_level)
SELECT name, role, tier_level FROM jsonb_to_recordset(%(rows)s::jsonb) AS v(name text, role text, tier_level smallint)
 ORDER BY name
ON CONFLICT (site_name) DO UPDATE SET role = excluded.role, tier_level = excluded.tier_level
 WHERE (site.role, site.tier_level) IS DISTINCT FROM (excluded.role, excluded.tier_level)
RETURNING site_name

-- name: put_queues
-- The site that each queue is at.
INSERT INTO {panda}.panda_site (panda_site_name, site_name)
SELECT name, site FROM unnest(%(names)s::text[], %(sites)s::text[]) v(name, site) ORDER BY name
ON CONFLICT (panda_site_name) DO UPDATE SET site_name = excluded.site_name
 WHERE panda_site.site_name IS DISTINCT FROM excluded.site_name
RETURNING panda_site_name

-- name: put_endpoints
-- Endpoints that are new or have changed; what no dump says of one stays as it is stored.
INSERT INTO {panda}.ddm_endpoint AS t
       (ddm_endpoint_name, site_name, ddm_spacetoken_name, type, is_tape, blacklisted, blacklisted_write,
        blacklisted_read, detailed_status, space_used, space_free, space_total, space_timestamp, space_expired,
        space_min_free, space_unavailable)
SELECT v.name, v.site, v.token, v.type, v.is_tape, coalesce(v.no_write, s.blacklisted, 'N'),
       coalesce(v.no_write, s.blacklisted_write, 'N'), coalesce(v.no_read, s.blacklisted_read, 'N'),
       coalesce(v.exclusions, s.detailed_status, '{}'), coalesce(v.used, s.space_used), coalesce(v.free, s.space_free),
       coalesce(v.total, s.space_total), coalesce(v.at, s.space_timestamp), coalesce(v.expired, s.space_expired),
       coalesce(v.min_free, s.space_min_free), coalesce(v.unavailable, s.space_unavailable)
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS v(
       name text, site text, token text, type text, is_tape text, no_write text, no_read text, exclusions jsonb,
       used bigint, free bigint, total bigint, at timestamp, expired bigint, min_free bigint, unavailable bigint)
  LEFT JOIN {panda}.ddm_endpoint s ON s.ddm_endpoint_name = v.name
 ORDER BY v.name
ON CONFLICT (ddm_endpoint_name) DO UPDATE SET
       site_name = excluded.site_name, ddm_spacetoken_name = excluded.ddm_spacetoken_name, type = excluded.type,
       is_tape = excluded.is_tape, blacklisted = excluded.blacklisted, blacklisted_write = excluded.blacklisted_write,
       blacklisted_read = excluded.blacklisted_read, detailed_status = excluded.detailed_status,
       space_used = excluded.space_used, space_free = excluded.space_free, space_total = excluded.space_total,
       space_timestamp = excluded.space_timestamp, space_expired = excluded.space_expired,
       space_min_free = excluded.space_min_free, space_unavailable = excluded.space_unavailable
 WHERE (t.site_name, t.ddm_spacetoken_name, t.type, t.is_tape, t.blacklisted, t.blacklisted_write, t.blacklisted_read,
        t.detailed_status, t.space_used, t.space_free, t.space_total, t.space_timestamp, t.space_expired,
        t.space_min_free, t.space_unavailable)
       IS DISTINCT FROM
       (excluded.site_name, excluded.ddm_spacetoken_name, excluded.type, excluded.is_tape, excluded.blacklisted,
        excluded.blacklisted_write, excluded.blacklisted_read, excluded.detailed_status, excluded.space_used,
        excluded.space_free, excluded.space_total, excluded.space_timestamp, excluded.space_expired,
        excluded.space_min_free, excluded.space_unavailable)
RETURNING ddm_endpoint_name

-- name: put_relations
-- What queues use endpoints for.
INSERT INTO {panda}.panda_ddm_relation AS t
       (panda_site_name, ddm_endpoint_name, scope, roles, is_local, order_read, order_write, default_read, default_write)
SELECT v.* FROM jsonb_to_recordset(%(rows)s::jsonb) AS v(
       queue text, endpoint text, scope text, roles text, is_local text, order_read int, order_write int,
       default_read text, default_write text)
 ORDER BY 1, 2, 3
ON CONFLICT (panda_site_name, ddm_endpoint_name, scope) DO UPDATE SET
       roles = excluded.roles, is_local = excluded.is_local, order_read = excluded.order_read,
       order_write = excluded.order_write, default_read = excluded.default_read, default_write = excluded.default_write
 WHERE (t.roles, t.is_local, t.order_read, t.order_write, t.default_read, t.default_write) IS DISTINCT FROM
       (excluded.roles, excluded.is_local, excluded.order_read, excluded.order_write, excluded.default_read,
        excluded.default_write)
RETURNING panda_site_name

-- name: site_names
SELECT site_name FROM {panda}.site

-- name: queue_sites
SELECT panda_site_name, site_name FROM {panda}.panda_site

-- name: endpoint_sites
SELECT ddm_endpoint_name, site_name FROM {panda}.ddm_endpoint

-- name: relation_keys
SELECT panda_site_name, ddm_endpoint_name, scope FROM {panda}.panda_ddm_relation

-- name: remove_sites
DELETE FROM {panda}.site WHERE site_name = ANY (%(names)s)

-- name: remove_queues
DELETE FROM {panda}.panda_site WHERE panda_site_name = ANY (%(names)s)

-- name: remove_endpoints
DELETE FROM {panda}.ddm_endpoint WHERE ddm_endpoint_name = ANY (%(names)s)

-- name: remove_relations
DELETE FROM {panda}.panda_ddm_relation t
 USING unnest(%(queues)s::text[], %(endpoints)s::text[], %(scopes)s::text[]) v(queue, endpoint, scope)
 WHERE (t.panda_site_name, t.ddm_endpoint_name, t.scope) = (v.queue, v.endpoint, v.scope)

-- name: put_measures
-- What was measured between sites.
INSERT INTO {panda}.network_matrix_kv (src, dst, key, value, ts)
SELECT * FROM unnest(%(sources)s::text[], %(destinations)s::text[], %(keys)s::text[], %(measured)s::bigint[],
                     %(times)s::timestamp[]) v(src, dst, key, value, ts)
 ORDER BY src, dst, key
ON CONFLICT (src, dst, key) DO UPDATE SET value = excluded.value, ts = excluded.ts
 WHERE (network_matrix_kv.value, network_matrix_kv.ts) IS DISTINCT FROM (excluded.value, excluded.ts)

-- name: remove_measures
-- Some of those that nothing has renewed.
DELETE FROM {panda}.network_matrix_kv WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM {panda}.network_matrix_kv WHERE ts < %(before)s LIMIT %(limit)s))

-- name: lock_tags
-- The table has no key: one writer at a time, readers go on.
LOCK TABLE {panda}.sw_tags IN SHARE ROW EXCLUSIVE MODE

-- name: tags
SELECT panda_queue, data, ctid::text AS place FROM {panda}.sw_tags

-- name: remove_tags
DELETE FROM {panda}.sw_tags WHERE ctid = ANY (%(places)s::tid[])

-- name: put_tags
INSERT INTO {panda}.sw_tags (panda_queue, data, last_update)
SELECT name, data, %(now)s FROM unnest(%(names)s::text[], %(documents)s::text[]) v(name, data)
