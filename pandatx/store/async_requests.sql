-- name: insert
-- Store a request; one of the same id is there already, and stays.
INSERT INTO {panda}.async_requests
  (request_id, request_type, service_name, machine_name, parameters, expected_machines, created_at)
VALUES (%(request_id)s, %(kind)s, %(service)s, %(machine)s, %(parameters)s, %(expected)s, %(created_at)s)
ON CONFLICT (request_id) DO NOTHING

-- name: alive
-- Machines of a service that were seen lately.
SELECT machine_name FROM {panda}.machine_heartbeat
 WHERE service_name = %(service)s AND last_seen >= %(since)s ORDER BY machine_name

-- name: beat
-- This machine serves.
INSERT INTO {panda}.machine_heartbeat (machine_name, service_name, last_seen) VALUES (%(machine)s, %(service)s, %(now)s)
ON CONFLICT (machine_name) DO UPDATE SET service_name = excluded.service_name, last_seen = excluded.last_seen

-- name: request
SELECT request_type, parameters, expected_machines FROM {panda}.async_requests WHERE request_id = %(request_id)s

-- name: results
SELECT machine_name, status, result, truncated, error_msg, attempts, started_at, finished_at, stderr, return_code
  FROM {panda}.async_results WHERE request_id = %(request_id)s ORDER BY machine_name

-- name: lock
-- Requests that this machine may begin, locked against our other servers. Other servers' running rows are left alone until
-- they are older than any call of theirs; ours, until their lease is over.
SELECT r.request_id, {machine} AS machine, coalesce(a.attempts, 0) AS attempts, a.status, a.error_msg
  FROM {panda}.async_requests r {joins}
 WHERE r.request_type = ANY (%(kinds)s) AND {for_us} AND {free}
 ORDER BY r.created_at, r.request_id
 LIMIT %(limit)s
   FOR NO KEY UPDATE OF r SKIP LOCKED

-- name: claim
-- Count an attempt and lease it. Older servers claim without locking requests, so what they began meanwhile is left alone.
WITH c AS (
  SELECT r.request_id, r.request_type, r.parameters, r.created_at, {machine} AS machine,
         a.status, coalesce(a.attempts, 0) AS attempts, coalesce(a.started_at, '-infinity') AS started
    FROM {panda}.async_requests r {joins}
   WHERE r.request_id = ANY (%(ids)s) AND {for_us} AND {free}),
 begun AS (
  INSERT INTO {panda}.async_results AS a (request_id, machine_name, status, attempts, started_at, truncated)
  SELECT request_id, machine, 'running', 1, %(now)s, 0 FROM c
  ON CONFLICT (request_id, machine_name) DO UPDATE
     SET status = 'running', attempts = coalesce(a.attempts, 0) + 1, started_at = excluded.started_at,
         finished_at = NULL, result = NULL, stderr = NULL, return_code = NULL, truncated = 0
   WHERE (a.status, coalesce(a.attempts, 0), coalesce(a.started_at, '-infinity'))
       = (SELECT c.status, c.attempts, c.started FROM c WHERE c.request_id = excluded.request_id)
  RETURNING request_id, machine_name, attempts),
 leased AS (
  INSERT INTO {own}.async_work (request_id, machine_name, instance, attempt, until)
  SELECT request_id, machine_name, %(instance)s, attempts, %(until)s FROM begun
  ON CONFLICT (request_id, machine_name) DO UPDATE
     SET instance = excluded.instance, attempt = excluded.attempt, until = excluded.until)
SELECT c.request_id, c.request_type, c.machine, c.parameters, c.created_at, b.attempts
  FROM c JOIN begun b ON b.request_id = c.request_id ORDER BY c.created_at, c.request_id

-- name: give_up
-- A request whose attempts are used up, and of which nobody is left to tell.
UPDATE {panda}.async_results SET status = 'failed', error_msg = %(error)s, finished_at = %(now)s
 WHERE request_id = %(request_id)s AND machine_name = %(machine)s AND status IN ('running', 'pending')

-- name: renew
-- Which of our attempts are still ours; they stay so for another while.
UPDATE {own}.async_work w SET until = %(until)s
  FROM unnest(%(ids)s::text[], %(machines)s::text[], %(attempts)s::int[]) AS v (request_id, machine_name, attempt)
 WHERE w.request_id = v.request_id AND w.machine_name = v.machine_name AND w.attempt = v.attempt
   AND w.instance = %(instance)s

-- name: adopt
-- Servers are known to be gone: what they had in hand may begin again now.
UPDATE {own}.async_work SET until = %(now)s WHERE instance = ANY (%(instances)s) AND until > %(now)s

-- name: end
-- How our attempt ended; nothing where it is not ours any more.
WITH ours AS (
  UPDATE {own}.async_work SET instance = '', until = %(until)s, attempt = attempt - %(uncounted)s
   WHERE request_id = %(request_id)s AND machine_name = %(machine)s AND attempt = %(attempt)s
     AND instance = %(instance)s
  RETURNING request_id)
UPDATE {panda}.async_results a
   SET status = %(status)s, result = %(result)s, stderr = %(stderr)s, return_code = %(return_code)s,
       error_msg = %(error)s, truncated = %(truncated)s, finished_at = %(finished_at)s,
       attempts = a.attempts - %(uncounted)s
  FROM ours
 WHERE a.request_id = ours.request_id AND a.machine_name = %(machine)s AND a.status = 'running'
   AND a.attempts = %(attempt)s
RETURNING a.request_id

-- name: old
-- Requests past their retention.
SELECT request_id FROM {panda}.async_requests WHERE created_at < %(before)s
 ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: drop_work
DELETE FROM {own}.async_work WHERE request_id = ANY (%(ids)s)

-- name: drop_results
DELETE FROM {panda}.async_results WHERE request_id = ANY (%(ids)s)

-- name: drop_requests
DELETE FROM {panda}.async_requests WHERE request_id = ANY (%(ids)s)

-- name: drop_left_work
-- Leases on requests that an older server has dropped.
DELETE FROM {own}.async_work w WHERE until < %(before)s
   AND NOT EXISTS (SELECT FROM {panda}.async_requests r WHERE r.request_id = w.request_id)
