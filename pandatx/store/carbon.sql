-- name: put
-- Emissions that are not stored yet.
INSERT INTO {panda}.carbon_region_emissions (region, timestamp, value)
SELECT region, at, value FROM unnest(%(regions)s::text[], %(times)s::timestamptz[], %(measured)s::bigint[])
       v(region, at, value)
 ORDER BY region, at
ON CONFLICT (region, timestamp) DO NOTHING

-- name: remove_old
DELETE FROM {panda}.carbon_region_emissions WHERE timestamp < %(before)s

-- name: used
-- HS in use by the region of the queues; no region: of all.
SELECT NULL AS region, coalesce(sum(hs), 0)::float8 AS hs FROM {panda}.jobs_share_stats
 UNION ALL
SELECT q.data->>'region', coalesce(sum(s.hs), 0)::float8
  FROM {panda}.jobs_share_stats s JOIN {panda}.schedconfig_json q ON q.panda_queue = s.computingsite
 WHERE q.data->>'region' IS NOT NULL
 GROUP BY 1

-- name: latest
-- The last value of each region.
SELECT DISTINCT ON (region) region, value FROM {panda}.carbon_region_emissions
 WHERE value IS NOT NULL ORDER BY region, timestamp DESC
