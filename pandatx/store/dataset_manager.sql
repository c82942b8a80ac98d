-- name: claim_to_close
-- prepare: since timestamp, until timestamp, ahead timestamp, most int
-- Datasets to be closed, with their row locks taken as older servers take them: a time of change ahead, a counter.
UPDATE {panda}.datasets d SET modificationdate = %(ahead)s, transferstatus = mod(d.transferstatus + 1, 10)
  FROM (SELECT vuid, modificationdate, transferstatus FROM {panda}.datasets
         WHERE type = 'output' AND status = 'tobeclosed' AND modificationdate BETWEEN %(since)s AND %(until)s
         ORDER BY modificationdate, vuid LIMIT %(most)s FOR UPDATE SKIP LOCKED) v
 WHERE d.vuid = v.vuid AND d.modificationdate = v.modificationdate AND d.transferstatus = v.transferstatus
RETURNING d.vuid, d.name, d.status

-- name: claim_to_freeze
-- prepare: since timestamp, until timestamp, ahead timestamp, most int
-- Sub blocks that nobody has closed.
UPDATE {panda}.datasets d SET modificationdate = %(ahead)s, transferstatus = mod(d.transferstatus + 1, 10)
  FROM (SELECT vuid, modificationdate, transferstatus FROM {panda}.datasets
         WHERE type = 'output' AND status IN ('running', 'created', 'defined', 'locked', 'doing') AND subtype = 'sub'
           AND modificationdate BETWEEN %(since)s AND %(until)s
         ORDER BY modificationdate, vuid LIMIT %(most)s FOR UPDATE SKIP LOCKED) v
 WHERE d.vuid = v.vuid AND d.modificationdate = v.modificationdate AND d.transferstatus = v.transferstatus
RETURNING d.vuid, d.name, d.status

-- name: claim_dispatch
-- prepare: since timestamp, until timestamp, ahead timestamp, most int
-- Dispatch blocks that are done with.
UPDATE {panda}.datasets d SET modificationdate = %(ahead)s, transferstatus = mod(d.transferstatus + 1, 10)
  FROM (SELECT vuid, modificationdate, transferstatus FROM {panda}.datasets
         WHERE type = 'dispatch' AND status IN ('deleting', 'shortening')
           AND modificationdate BETWEEN %(since)s AND %(until)s
         ORDER BY modificationdate, vuid LIMIT %(most)s FOR UPDATE SKIP LOCKED) v
 WHERE d.vuid = v.vuid AND d.modificationdate = v.modificationdate AND d.transferstatus = v.transferstatus
RETURNING d.vuid, d.name, d.status

-- name: claim_subs
-- prepare: since timestamp, until timestamp, ahead timestamp, most int
-- Sub blocks whose files are all where they belong.
UPDATE {panda}.datasets d SET modificationdate = %(ahead)s, transferstatus = mod(d.transferstatus + 1, 10)
  FROM (SELECT vuid, modificationdate, transferstatus FROM {panda}.datasets
         WHERE type = 'output' AND status IN ('completed', 'cleanup') AND subtype = 'sub'
           AND modificationdate BETWEEN %(since)s AND %(until)s AND creationdate <= %(until)s
         ORDER BY modificationdate, vuid LIMIT %(most)s FOR UPDATE SKIP LOCKED) v
 WHERE d.vuid = v.vuid AND d.modificationdate = v.modificationdate AND d.transferstatus = v.transferstatus
RETURNING d.vuid, d.name, d.status

-- name: reset
-- prepare: since timestamp, until timestamp, back timestamp
-- Sub blocks that wait for merging for long are open again, and old enough to be frozen.
UPDATE {panda}.datasets d SET status = 'running', modificationdate = %(back)s
  FROM (SELECT vuid, modificationdate FROM {panda}.datasets
         WHERE type = 'output' AND subtype = 'sub' AND status = 'doing'
           AND modificationdate BETWEEN %(since)s AND %(until)s
         ORDER BY name, vuid FOR UPDATE SKIP LOCKED) v
 WHERE d.vuid = v.vuid AND d.modificationdate = v.modificationdate
RETURNING d.name

-- name: lock
-- prepare: vuids text[]
-- Rows in the order that all take them in.
SELECT vuid FROM {panda}.datasets WHERE vuid = ANY (%(vuids)s) ORDER BY name, vuid FOR UPDATE

-- name: set_status
-- prepare: vuids text[], old text[], status text, now timestamp
-- Give locked datasets a status, unless others have changed theirs meanwhile.
UPDATE {panda}.datasets SET status = %(status)s, modificationdate = %(now)s
 WHERE vuid = ANY (%(vuids)s) AND (%(old)s IS NULL OR status = ANY (%(old)s))
RETURNING name

-- name: touch
-- prepare: vuids text[], now timestamp
-- Locked datasets that are looked at again when a whole time has passed.
UPDATE {panda}.datasets SET modificationdate = %(now)s WHERE vuid = ANY (%(vuids)s)

-- name: file_statuses
-- prepare: names text[]
-- The statuses that the files of each block have.
SELECT b.name, f.status FROM unnest(%(names)s) b(name)
 CROSS JOIN LATERAL (SELECT DISTINCT status FROM {panda}.filestable4 f
                      WHERE f.destinationdblock COLLATE "C" = b.name AND f.destinationdblock = b.name) f

-- name: unmerged_job
-- prepare: name text
-- An active job with a file of a block that is to be merged.
SELECT f.pandaid FROM {panda}.filestable4 f JOIN {panda}.jobsactive4 j ON j.pandaid = f.pandaid
 WHERE f.destinationdblock COLLATE "C" = %(name)s AND f.destinationdblock = %(name)s
   AND f.status IN ('merging', 'failed')
 ORDER BY f.pandaid LIMIT 1

-- name: owners_of_outputs
-- prepare: names text[]
-- VO and destination of a job that writes each block.
SELECT b.name, j.vo, j.destinationse FROM unnest(%(names)s) b(name)
 CROSS JOIN LATERAL (SELECT pandaid FROM {panda}.filestable4 f
                      WHERE f.destinationdblock COLLATE "C" = b.name AND f.destinationdblock = b.name LIMIT 1) f
 CROSS JOIN LATERAL (SELECT vo, destinationse FROM {panda}.jobsarchived4 WHERE pandaid = f.pandaid
                     UNION ALL SELECT vo, destinationse FROM {panda}.jobsactive4 WHERE pandaid = f.pandaid
                     UNION ALL SELECT vo, destinationse FROM {panda}.jobsdefined4 WHERE pandaid = f.pandaid LIMIT 1) j

-- name: owners_of_dispatch
-- prepare: names text[]
-- VO and destination of a job that reads each block.
SELECT b.name, j.vo, j.destinationse FROM unnest(%(names)s) b(name)
 CROSS JOIN LATERAL (SELECT pandaid FROM {panda}.filestable4 f WHERE f.dispatchdblock = b.name LIMIT 1) f
 CROSS JOIN LATERAL (SELECT vo, destinationse FROM {panda}.jobsarchived4 WHERE pandaid = f.pandaid
                     UNION ALL SELECT vo, destinationse FROM {panda}.jobsactive4 WHERE pandaid = f.pandaid
                     UNION ALL SELECT vo, destinationse FROM {panda}.jobsdefined4 WHERE pandaid = f.pandaid LIMIT 1) j

-- name: dispatch_behind
-- prepare: names text[]
-- Dispatch blocks of the jobs of closed sub blocks, less those that some job has yet to read.
SELECT DISTINCT d.vuid, d.name, coalesce(d.currentfiles, 0) AS n_failed
  FROM unnest(%(names)s) b(name)
  JOIN {panda}.filestable4 o ON o.destinationdblock COLLATE "C" = b.name AND o.destinationdblock = b.name
  JOIN {panda}.filestable4 i ON i.pandaid = o.pandaid AND i.type = 'input'
  JOIN {panda}.datasets d ON d.name = i.dispatchdblock AND d.type = 'dispatch'
 WHERE d.status NOT IN ('deleting', 'shortening', 'tobedeleted', 'deleted')
   AND NOT EXISTS (SELECT 1 FROM {panda}.filestable4 r JOIN {panda}.jobsdefined4 j ON j.pandaid = r.pandaid
                    WHERE r.dispatchdblock = d.name)
   AND NOT EXISTS (SELECT 1 FROM {panda}.filestable4 r JOIN {panda}.jobsactive4 j ON j.pandaid = r.pandaid
                    WHERE r.dispatchdblock = d.name AND j.jobstatus NOT IN ('holding', 'transferring', 'merging'))

-- name: unfinished
-- prepare: names text[], recent timestamp
-- Those of the blocks that have a job which has not ended, or is nowhere.
SELECT DISTINCT b.name FROM unnest(%(names)s) b(name)
 CROSS JOIN LATERAL (SELECT DISTINCT pandaid FROM {panda}.filestable4 f
                      WHERE f.destinationdblock COLLATE "C" = b.name AND f.destinationdblock = b.name) f
 WHERE NOT EXISTS (SELECT 1 FROM {panda}.jobsarchived4 a
                    WHERE a.pandaid = f.pandaid AND a.jobstatus IN ('finished', 'failed', 'cancelled', 'closed'))
   AND NOT EXISTS (SELECT 1 FROM {arch}.jobsarchived a
                    WHERE a.pandaid = f.pandaid AND a.jobstatus IN ('finished', 'failed', 'cancelled', 'closed')
                      AND a.modificationtime > %(recent)s)

-- name: open_blocks
-- prepare: last text, since timestamp, most int
-- The next open blocks by name; of each whose files are all settled, a job that has ended, a finished one if there is any.
SELECT d.name, e.pandaid
  FROM (SELECT name FROM {panda}.datasets
         WHERE type = 'output' AND status IN ('defined', 'created', 'running') AND name > %(last)s
           AND creationdate >= %(since)s
         ORDER BY name LIMIT %(most)s) d
  LEFT JOIN LATERAL (SELECT 1 AS found FROM {panda}.filestable4 f
                      WHERE f.destinationdblock = d.name AND f.status = 'unknown' LIMIT 1) w ON true
  LEFT JOIN LATERAL ((SELECT a.pandaid FROM {panda}.filestable4 f
                        JOIN {panda}.jobsarchived4 a ON a.pandaid = f.pandaid
                       WHERE w.found IS NULL AND f.destinationdblock COLLATE "C" = d.name
                         AND f.destinationdblock = d.name AND f.type IN ('output', 'log') AND a.jobstatus = 'finished'
                       LIMIT 1)
                     UNION ALL
                     (SELECT a.pandaid FROM {panda}.filestable4 f
                        JOIN {panda}.jobsarchived4 a ON a.pandaid = f.pandaid
                       WHERE w.found IS NULL AND f.destinationdblock COLLATE "C" = d.name
                         AND f.destinationdblock = d.name AND f.type IN ('output', 'log')
                       LIMIT 1)
                     LIMIT 1) e ON true
 ORDER BY d.name

-- name: claim_transferring
-- prepare: last bigint, before timestamp, urgent boolean, now timestamp, most int
-- Production's transferring jobs that nobody has looked at for some time, by PandaID; none else looks at them then. The list
-- of statuses is the index's own, word for word (reference/database.md 6).
UPDATE {panda}.jobsactive4 SET modificationtime = %(now)s
 WHERE pandaid = ANY (ARRAY(
   SELECT pandaid FROM {panda}.jobsactive4
    WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging') AND pandaid > %(last)s
      AND jobstatus = 'transferring' AND modificationtime <= %(before)s AND prodsourcelabel IN ('managed', 'test')
      AND coalesce(eventservice, 0) <> 4 AND (currentpriority >= 800) = %(urgent)s
    ORDER BY pandaid LIMIT %(most)s FOR UPDATE SKIP LOCKED))
RETURNING pandaid

-- name: settled_transfers
-- prepare: last bigint, before timestamp, most int
-- Transferring jobs whose outputs are all settled, and which no report will end.
SELECT j.pandaid FROM {panda}.jobsactive4 j
 WHERE j.jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging') AND j.pandaid > %(last)s
   AND j.jobstatus = 'transferring' AND j.modificationtime <= %(before)s
   AND NOT EXISTS (SELECT 1 FROM {panda}.filestable4 f
                    WHERE f.pandaid = j.pandaid AND f.type IN ('output', 'log')
                      AND f.status NOT IN ('ready', 'failed', 'nooutput'))
   AND EXISTS (SELECT 1 FROM {panda}.filestable4 f WHERE f.pandaid = j.pandaid AND f.type IN ('output', 'log'))
   AND NOT EXISTS (SELECT 1 FROM {panda}.job_output_report r WHERE r.pandaid = j.pandaid)
 ORDER BY j.pandaid LIMIT %(most)s

-- name: claim_assigned
-- prepare: before timestamp, urgent boolean, now timestamp, most int
-- Assigned jobs whose inputs nobody has asked for within some time; none else asks for them then.
UPDATE {panda}.jobsdefined4 SET proddbupdatetime = %(now)s
 WHERE pandaid = ANY (ARRAY(
   SELECT pandaid FROM {panda}.jobsdefined4
    WHERE jobstatus = 'assigned' AND (proddbupdatetime IS NULL OR proddbupdatetime <= %(before)s)
      AND (NOT %(urgent)s OR currentpriority >= 800)
    ORDER BY pandaid LIMIT %(most)s FOR UPDATE SKIP LOCKED))
RETURNING {columns}

-- name: made
-- prepare: ids bigint[]
-- The inputs of jobs that other jobs make: whether what is awaited is made, or is still to be.
SELECT i.row_id, o.status = 'ready' AS made
  FROM {panda}.filestable4 i
 CROSS JOIN LATERAL (SELECT f.status FROM {panda}.filestable4 f
                      WHERE f.destinationdblock COLLATE "C" = i.dispatchdblock
                        AND f.destinationdblock = i.dispatchdblock AND f.lfn = i.lfn AND f.type = 'output'
                      ORDER BY f.status <> 'ready' LIMIT 1) o
 WHERE i.pandaid = ANY (%(ids)s) AND i.type = 'input' AND i.dispatchdblock IS NOT NULL
   AND coalesce(i.status, '') NOT IN ('ready', 'cached')

-- name: inputs_there
-- prepare: rows bigint[], ids bigint[]
-- Inputs of locked jobs that have come.
UPDATE {panda}.filestable4 SET status = 'ready'
 WHERE row_id = ANY (%(rows)s) AND pandaid = ANY (%(ids)s) AND type = 'input'
   AND coalesce(status, '') NOT IN ('ready', 'cached')

-- name: outputs_there
-- prepare: rows bigint[], ids bigint[]
-- Outputs of locked jobs that have arrived.
UPDATE {panda}.filestable4 SET status = 'ready'
 WHERE row_id = ANY (%(rows)s) AND pandaid = ANY (%(ids)s) AND status = 'transferring'
