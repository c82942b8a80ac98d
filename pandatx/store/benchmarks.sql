-- name: table
-- Whether the database has the table; one that pandatx found need not.
SELECT to_regclass('{panda}.cpu_benchmarks') IS NOT NULL

-- name: lock
-- The table has no key: one writer at a time, readers go on.
LOCK TABLE {panda}.cpu_benchmarks IN SHARE ROW EXCLUSIVE MODE

-- name: put
-- Scores that are newer than all that are stored.
INSERT INTO {panda}.cpu_benchmarks (cpu_type, cpu_type_normalized, smt_enabled, sockets, cores_per_socket, ncores, site,
                                    score_per_core, timestamp, source)
SELECT v.cpu, v.model, v.smt, v.sockets, v.cores_per_socket, v.cores, v.site, v.score, v.at, %(source)s
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS v(cpu text, model text, smt smallint, sockets smallint,
       cores_per_socket int, cores int, site text, score numeric, at timestamp)
 WHERE v.at > coalesce((SELECT max(timestamp) FROM {panda}.cpu_benchmarks), '-infinity')
 ORDER BY v.at
