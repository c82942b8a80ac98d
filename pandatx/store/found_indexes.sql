-- name: claim
-- What dispatch reads waiting jobs by. The columns are those of its query, as in 0003_hot_tables.sql.
CREATE INDEX CONCURRENTLY jobsactive4_claim ON {panda}.jobsactive4 (computingsite, (coalesce(gshare, 'Undefined')),
    (coalesce(resource_type, 'Undefined')),
    {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime), (-currentpriority), pandaid,
    minramcount, maxdiskcount, (coalesce(maxwalltime, 0))) WHERE jobstatus = 'activated'

-- name: oldest
CREATE INDEX CONCURRENTLY jobsactive4_oldest ON {panda}.jobsactive4 (computingsite, pandaid) WHERE jobstatus = 'activated'

-- name: alive
CREATE INDEX CONCURRENTLY jobsactive4_alive ON {panda}.jobsactive4 (pandaid)
    WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging')

-- name: drop_claim
DROP INDEX CONCURRENTLY IF EXISTS {panda}.jobsactive4_claim

-- name: drop_oldest
DROP INDEX CONCURRENTLY IF EXISTS {panda}.jobsactive4_oldest

-- name: drop_alive
DROP INDEX CONCURRENTLY IF EXISTS {panda}.jobsactive4_alive

-- name: there
-- The indexes of jobsactive4: whether each can be used, and whether a heartbeat writes a column of it.
SELECT c.relname AS name, i.indisvalid AS valid,
       EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                                              AND a.attname = 'modificationtime') AS dear,
       pg_relation_size(i.indexrelid) AS bytes
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = (SELECT t.oid FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
                      WHERE n.nspname = %(schema)s AND t.relname = 'jobsactive4')
 ORDER BY c.relname

-- name: connections
-- How many connections the database gives, and how many are taken now.
SELECT current_setting('max_connections')::int AS most, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS taken
