-- name: start
-- Enter this server; whether anybody else, or it itself, was seen shortly before.
WITH seen AS (SELECT max(seen) AS last FROM {own}.instances),
 i AS (INSERT INTO {own}.instances (instance, host, started, seen, spooled) VALUES (%(instance)s, %(host)s, %(now)s, %(now)s, %(spooled)s)
  ON CONFLICT (instance) DO UPDATE SET host = excluded.host, started = excluded.started, seen = excluded.seen,
    spooled = excluded.spooled)
SELECT last FROM seen

-- name: beat
-- prepare: instance text, host text, spooled int, outage timestamp, now timestamp
-- This server lives; an outage is written once and stays until a later one.
INSERT INTO {own}.instances (instance, host, started, seen, spooled, outage_ended)
VALUES (%(instance)s, %(host)s, %(now)s, %(now)s, %(spooled)s, %(outage)s)
ON CONFLICT (instance) DO UPDATE SET seen = excluded.seen, spooled = excluded.spooled,
  outage_ended = greatest(instances.outage_ended, excluded.outage_ended)

-- name: all
SELECT instance, seen, spooled, outage_ended FROM {own}.instances

-- name: forget
-- Servers that are gone for good.
DELETE FROM {own}.instances WHERE seen < %(before)s
