-- name: take
-- prepare: owner text, working bigint[], free_before timestamp, dead_before timestamp, now timestamp, n int
-- Final reports that nobody works on: never taken, left ten minutes ago, of a server that is dead, or ours and not in hand.
WITH p AS MATERIALIZED (SELECT pandaid, attemptnr FROM {panda}.job_output_report
  WHERE lockedtime IS NULL OR lockedtime < %(free_before)s
     OR lockedby = ANY (ARRAY(SELECT i.instance FROM {own}.instances i WHERE i.seen < %(dead_before)s))
     OR (lockedby = %(owner)s AND NOT (pandaid = ANY (%(working)s)))
  ORDER BY pandaid, attemptnr LIMIT %(n)s FOR UPDATE SKIP LOCKED)
UPDATE {panda}.job_output_report r SET lockedby = %(owner)s, lockedtime = %(now)s
  FROM p WHERE r.pandaid = p.pandaid AND r.attemptnr = p.attemptnr
RETURNING r.pandaid, r.attemptnr, r.jobstatus, r.timestamp, r.data

-- name: metadata
-- prepare: ids bigint[]
SELECT pandaid, metadata FROM {panda}.metatable WHERE pandaid = ANY (%(ids)s) AND metadata IS NOT NULL

-- name: mismatches
-- prepare: ids bigint[], tasks bigint[], merges boolean[], clones boolean[]
-- Inputs of jobs of tasks that JEDI has not given to them, or not any more: of the master input, of a merge job all. Clones share
-- theirs.
SELECT f.pandaid, f.lfn, f.attemptnr AS attempt, c.fileid IS NULL AS missing, c.status, c.attemptnr, c.pandaid AS taken_by
  FROM unnest(%(ids)s, %(tasks)s, %(merges)s, %(clones)s) v(pandaid, jeditaskid, merges, clones)
  JOIN {panda}.filestable4 f ON f.pandaid = v.pandaid AND f.fileid IS NOT NULL
  JOIN {panda}.jedi_datasets d ON d.jeditaskid = v.jeditaskid AND d.datasetid = f.datasetid
  LEFT JOIN {panda}.jedi_dataset_contents c
         ON c.jeditaskid = v.jeditaskid AND c.datasetid = f.datasetid AND c.fileid = f.fileid
 WHERE CASE WHEN v.merges THEN f.type = 'input' ELSE d.masterid IS NULL AND d.type IN ('input', 'pseudo_input') END
   AND (c.fileid IS NULL OR c.keeptrack = 1 AND c.attemptnr IS NOT NULL AND (c.status = 'finished'
     OR c.status <> 'running' AND c.is_waiting IS NULL OR c.attemptnr <> f.attemptnr
     OR NOT v.clones AND c.pandaid IS DISTINCT FROM f.pandaid))
 ORDER BY f.pandaid, f.row_id

-- name: check
-- prepare: ids bigint[], owner text
-- Which of the reports are still ours, locked; after the jobs, before which nobody takes them (rule R1).
SELECT pandaid, attemptnr FROM {panda}.job_output_report
 WHERE pandaid = ANY (%(ids)s) AND lockedby = %(owner)s ORDER BY pandaid, attemptnr FOR UPDATE

-- name: renew
-- prepare: ids bigint[], owner text, now timestamp
UPDATE {panda}.job_output_report SET lockedtime = %(now)s WHERE pandaid = ANY (%(ids)s) AND lockedby = %(owner)s

-- name: release
-- prepare: ids bigint[], attempts smallint[], times timestamp[], owner text
-- Leave reports for a later try: each is free when its time is ten minutes old. The owner goes, so that it is not taken at once.
UPDATE {panda}.job_output_report r SET lockedby = NULL, lockedtime = v.time
  FROM unnest(%(ids)s, %(attempts)s, %(times)s) v(pandaid, attemptnr, time)
 WHERE r.pandaid = v.pandaid AND r.attemptnr = v.attemptnr AND r.lockedby = %(owner)s

-- name: drop
-- prepare: ids bigint[], attempts smallint[]
-- Delete reports that have no effect.
DELETE FROM {panda}.job_output_report r USING unnest(%(ids)s, %(attempts)s) v(pandaid, attemptnr)
 WHERE r.pandaid = v.pandaid AND r.attemptnr = v.attemptnr

-- name: adopt
-- Free the reports that servers had in hand which are gone.
UPDATE {panda}.job_output_report SET lockedby = NULL, lockedtime = NULL WHERE lockedby = ANY (%(owners)s::text[])
