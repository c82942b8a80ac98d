-- name: job
-- An active job, held so that it cannot end while it is given ranges (rule R1).
SELECT {job_columns} FROM {panda}.jobsactive4 j WHERE j.pandaid = %(job)s FOR NO KEY UPDATE

-- name: take
-- Ranges of a jobset for one of its jobs: each is given to one job at once, and none that others are just taking is waited for.
WITH p AS MATERIALIZED ({free} AND e.pandaid = %(jobset)s ORDER BY e.fileid, e.job_processid {claimed}), {taken}

-- name: take_in_order
-- Ranges of any jobset of a task, for a jumbo job: file by file.
WITH p AS MATERIALIZED ({free} ORDER BY e.pandaid, e.fileid, e.job_processid {claimed}), {taken}

-- name: take_scattered
-- The same, of whichever files.
WITH p AS MATERIALIZED ({free} {claimed}), {taken}

-- name: has
-- Whether a job has had a range.
SELECT EXISTS (SELECT FROM {panda}.jedi_events WHERE jeditaskid = %(task)s AND pandaid = %(job)s)

-- name: parts
-- What fine-grained jobs have processed, and what is left of their jobsets with what they give back.
SELECT v.job, (SELECT count(*) FROM {panda}.jedi_events e
                WHERE e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 = 3) AS done,
       (SELECT count(*) FROM {panda}.jedi_events e
         WHERE e.jeditaskid = v.task AND e.pandaid IN (v.job, v.jobset) AND NOT (e.pandaid = v.job AND e.status + 0 = 3)) AS left
  FROM unnest(%(jobs)s::bigint[], %(tasks)s::bigint[], %(jobsets)s::bigint[]) v(job, task, jobset)

-- name: ready
-- How many ranges are left of a jobset, or of a whole task.
SELECT count(*) FROM {panda}.jedi_events
 WHERE jeditaskid = %(task)s AND status = 0 AND attemptnr > 0 AND (%(jobset)s::bigint IS NULL OR pandaid = %(jobset)s)

-- name: event_service
SELECT eventservice, jobsetid FROM {panda}.jobsactive4 WHERE pandaid = %(job)s

-- name: jobs
-- Active jobs, held while their ranges are written; by the ids that the ranges have.
SELECT j.pandaid AS id, {job_columns} FROM {panda}.jobsactive4 j
 WHERE j.pandaid = ANY (%(jobs)s) ORDER BY j.pandaid FOR NO KEY UPDATE

-- name: jobs_of_jobsets
-- The same, and jobs of the jobsets that ranges are of which no job has taken yet.
SELECT v.job AS id, {job_columns} FROM unnest(%(tasks)s::bigint[], %(jobs)s::bigint[]) v(task, job)
  JOIN {panda}.jobsactive4 j ON j.jeditaskid = v.task AND j.jobsetid = v.job AND j.pandaid <> v.job
 ORDER BY j.pandaid FOR NO KEY UPDATE OF j

-- name: zips
-- Rows of files that ranges were packed into.
SELECT v.job, v.lfn, f.row_id FROM unnest(%(jobs)s::bigint[], %(lfns)s::text[]) v(job, lfn)
  JOIN {panda}.filestable4 f ON f.pandaid = v.job AND f.lfn = v.lfn

-- name: add_zips
INSERT INTO {panda}.filestable4 (row_id, modificationtime, pandaid, jeditaskid, lfn, guid, fsize, checksum,
                                 dispatchdblocktoken, destinationse, type, status)
SELECT nextval('{panda}.filestable4_row_id_seq'), %(now)s, w.pandaid, w.jeditaskid, w.lfn, gen_random_uuid()::text, w.fsize,
       w.checksum, w.dispatchdblocktoken, w.destinationse, 'zipoutput', 'ready'
  FROM json_to_recordset(%(rows)s) w(pandaid bigint, jeditaskid bigint, lfn text, fsize bigint, checksum text,
                                     dispatchdblocktoken text, destinationse text)
RETURNING pandaid AS job, lfn, row_id

-- name: write
-- How ranges ended. What is not out any more, or is in another attempt by now, stays as it is. Statuses are out of the
-- planner's sight, here and below: rows are to be found by their keys, however few have a status.
UPDATE {panda}.jedi_events e
   SET status = w.status, objstore_id = w.objstore_id, error_code = w.error_code, error_diag = w.error_diag,
       path_convention = w.path_convention, attemptnr = CASE WHEN w.fatal THEN 1 ELSE e.attemptnr END,
       ziprow_id = CASE WHEN %(zipped)s THEN w.ziprow_id ELSE e.ziprow_id END
  FROM json_to_recordset(%(rows)s) w(jeditaskid bigint, pandaid bigint, fileid bigint, job_processid bigint, attemptnr smallint,
         status smallint, fatal boolean, objstore_id bigint, error_code integer, error_diag varchar(500),
         path_convention smallint, ziprow_id bigint)
 WHERE e.jeditaskid = w.jeditaskid AND e.pandaid = w.pandaid AND e.fileid = w.fileid
   AND e.job_processid = w.job_processid AND e.attemptnr = w.attemptnr AND e.status + 0 = ANY (%(statuses)s::integer[])

-- name: count
-- The events that jobs, or the jobsets they are of, have processed, as their ranges say.
UPDATE {panda}.jobsactive4 j SET nevents = least(c.n * c.each, 2147483647)
  FROM (SELECT v.job, coalesce(substring(t.splitrule FROM '(?:^|,)ES=([0-9]{1,9})')::bigint, 1) AS each,
               (SELECT count(*) FROM {panda}.jedi_events e
                 WHERE e.jeditaskid = v.task AND e.pandaid = v.owner AND e.status IN (3, 6, 9)) AS n
          FROM unnest(%(jobs)s::bigint[], %(owners)s::bigint[], %(tasks)s::bigint[]) v(job, owner, task)
          LEFT JOIN {panda}.jedi_tasks t ON t.jeditaskid = v.task) c
 WHERE j.pandaid = c.job

-- name: statuses
-- The ranges of some jobs.
SELECT e.jeditaskid, e.pandaid, e.fileid, e.job_processid, e.attemptnr, e.status, e.error_code, e.error_diag
  FROM unnest(%(tasks)s::bigint[], %(jobs)s::bigint[]) v(task, job)
  JOIN {panda}.jedi_events e ON e.jeditaskid = v.task AND e.pandaid = v.job
 ORDER BY e.pandaid, e.fileid, e.job_processid LIMIT %(most)s

-- name: jobset
-- The jobs of a jobset that are alive.
SELECT pandaid FROM {panda}.jobsactive4 WHERE jeditaskid = %(task)s AND jobsetid = %(jobset)s
UNION ALL SELECT pandaid FROM {panda}.jobsdefined4 WHERE jeditaskid = %(task)s AND jobsetid = %(jobset)s

-- name: queue_up
-- One at a time of those that end consumers or clones of a task, so that each sees who of a jobset the others have ended;
-- not a lock for each task, of which a transaction may have thousands.
SELECT pg_advisory_xact_lock(hashtext('ends in jobsets'), slot)
  FROM (SELECT DISTINCT (task & 63)::integer AS slot FROM unnest(%(tasks)s::bigint[]) task ORDER BY slot) s

-- name: others
-- Which of these jobsets have jobs that are alive; OFFSET, since their tables would be read as a whole for a hash.
SELECT v.task, v.jobset FROM unnest(%(tasks)s::bigint[], %(jobsets)s::bigint[]) v(task, jobset)
 WHERE EXISTS (SELECT FROM {panda}.jobsactive4 j WHERE j.jeditaskid = v.task AND j.jobsetid = v.jobset OFFSET 0)
    OR EXISTS (SELECT FROM {panda}.jobsdefined4 j WHERE j.jeditaskid = v.task AND j.jobsetid = v.jobset OFFSET 0)

-- name: leave_consumer
-- Jobs that have ended: what they finished is done; what they had out goes back to their jobsets, with an attempt less; what
-- failed stays as it is, and is tried once more as a copy. Each part looks at other rows, so that one statement does.
WITH {ended},
 d AS (UPDATE {panda}.jedi_events e SET status = 6 FROM v
   WHERE e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 = 3),
 r AS (UPDATE {panda}.jedi_events e
   SET pandaid = coalesce(v.jobset, e.event_offset, e.pandaid), attemptnr = e.attemptnr - v.counts,
       status = CASE WHEN v.partial AND e.attemptnr <= v.counts THEN 8 ELSE 0 END
   FROM v WHERE e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 IN (0, 1, 2, 98, 99)
    AND {room_in_jobset}),
{again_in_jobset}

-- name: leave_jumbo
-- The same for the jobsets that the ranges are of; what has finished is done with those.
WITH {ended},
 r AS (UPDATE {panda}.jedi_events e
   SET pandaid = e.event_offset, status = 0, attemptnr = e.attemptnr - v.counts, is_jumbo = NULL
   FROM v WHERE e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 IN (1, 2) AND e.event_offset IS NOT NULL
    AND {room_in_offset}),
{again_in_offset}

-- name: leave_fine_grained
WITH {ended}
UPDATE {panda}.jedi_events e SET pandaid = coalesce(v.jobset, e.event_offset, e.pandaid), status = 0
  FROM v WHERE e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 <> 3 AND {room_in_jobset}

-- name: leave_samples
-- Points of a search for hyperparameters: what has no attempts left has failed, the rest is anybody's again.
WITH {ended}
UPDATE {panda}.jedi_events e
   SET status = CASE WHEN e.attemptnr > 1 THEN 0 ELSE 7 END, pandaid = CASE WHEN e.attemptnr > 1 THEN 0 ELSE e.pandaid END,
       attemptnr = e.attemptnr - 1
  FROM v WHERE e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 NOT IN (0, 3, 7)

-- name: leave_withdrawn
-- Jobs that were killed: nobody wants what they made, nor what waits in their jobsets, unless their events are to be kept.
WITH {ended},
 o AS (UPDATE {panda}.jedi_events e
   SET status = CASE WHEN e.status IN (3, 6) THEN 5 WHEN v.keeps THEN 0 ELSE 4 END,
       pandaid = CASE WHEN v.keeps THEN coalesce(v.jobset, e.event_offset, e.pandaid) ELSE e.pandaid END,
       attemptnr = CASE WHEN v.keeps THEN e.attemptnr - v.counts ELSE e.attemptnr END
   FROM v WHERE e.jeditaskid = v.task AND e.pandaid = v.job
    AND e.status + 0 IN (0, 1, 2, 98, 99, CASE WHEN v.keeps THEN 0 ELSE 3 END, CASE WHEN v.keeps THEN 0 ELSE 6 END)
    AND (NOT v.keeps OR {room_in_jobset})),
 s AS MATERIALIZED (SELECT e.jeditaskid, e.pandaid, e.fileid, e.job_processid
   FROM (SELECT DISTINCT task, jobset FROM v WHERE NOT keeps AND jobset <> job) v
   JOIN {panda}.jedi_events e ON e.jeditaskid = v.task AND e.pandaid = v.jobset AND e.status = 0
  ORDER BY e.jeditaskid, e.pandaid, e.fileid, e.job_processid FOR UPDATE OF e)
UPDATE {panda}.jedi_events e SET status = 4 FROM s
 WHERE e.jeditaskid = s.jeditaskid AND e.pandaid = s.pandaid AND e.fileid = s.fileid AND e.job_processid = s.job_processid
