-- name: summary
-- prepare: queue text
-- The keys of a queue's activated jobs, each with its head; a loose index scan (reference/database.md 1.3). Jobs of a found
-- database may have neither share nor resource type.
WITH RECURSIVE k AS (
 (SELECT coalesce(gshare, 'Undefined') AS share, coalesce(resource_type, 'Undefined') AS rtype,
         {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime) AS fit, currentpriority, pandaid
    FROM {panda}.jobsactive4 WHERE jobstatus = 'activated' AND computingsite = %(queue)s
   ORDER BY coalesce(gshare, 'Undefined'), coalesce(resource_type, 'Undefined'),
            {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime), -currentpriority, pandaid LIMIT 1)
 UNION ALL SELECT x.* FROM k CROSS JOIN LATERAL (
  SELECT coalesce(gshare, 'Undefined'), coalesce(resource_type, 'Undefined'),
         {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime), currentpriority, pandaid
    FROM {panda}.jobsactive4 WHERE jobstatus = 'activated' AND computingsite = %(queue)s
     AND (coalesce(gshare, 'Undefined'), coalesce(resource_type, 'Undefined'),
          {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime)) > (k.share, k.rtype, k.fit)
   ORDER BY coalesce(gshare, 'Undefined'), coalesce(resource_type, 'Undefined'),
            {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime), -currentpriority, pandaid LIMIT 1) x)
SELECT share, rtype, fit, currentpriority, pandaid FROM k

-- name: claim
-- prepare: queue text[], memory bigint[], disk bigint[], walltime bigint[], n int[], slot0 int[], key_from int[], key_to int[], key_gshare text[], key_rtype text[], key_fit int[], key_prio int[], key_id bigint[], node text[], ce text[], scheduler text[], harvester text[], worker bigint[], now timestamp
-- The best activated jobs for several wants at once; two pilots asking at once never get the same one. A want is a queue with
-- filters and n slots, its keys are key_from..key_to. Not as UPDATE ... FROM a join: 170 times slower (reference/stack.md 3.5).
-- Two wants of one statement must not overlap: SKIP LOCKED does not skip rows that its own transaction locked.
WITH p AS MATERIALIZED (SELECT array_agg(pandaid) ids, array_agg(slot) slots FROM (
  SELECT pandaid, slot0 + row_number() OVER (PARTITION BY slot0) AS slot FROM (
   SELECT w.slot0, j.pandaid
     FROM unnest(%(queue)s, %(memory)s, %(disk)s, %(walltime)s, %(n)s, %(slot0)s, %(key_from)s, %(key_to)s)
          w(queue, memory, disk, walltime, n, slot0, kfrom, kto)
    CROSS JOIN LATERAL (SELECT a.pandaid
      FROM unnest((%(key_gshare)s)[w.kfrom:w.kto], (%(key_rtype)s)[w.kfrom:w.kto], (%(key_fit)s)[w.kfrom:w.kto],
                  (%(key_prio)s)[w.kfrom:w.kto], (%(key_id)s)[w.kfrom:w.kto]) k(gshare, rtype, fit, prio, id)
      CROSS JOIN LATERAL (SELECT pandaid FROM {panda}.jobsactive4
        WHERE jobstatus = 'activated' AND computingsite = w.queue AND coalesce(gshare, 'Undefined') = k.gshare
          AND coalesce(resource_type, 'Undefined') = k.rtype
          AND {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime) = k.fit
          AND (-currentpriority, pandaid) >= (k.prio, k.id)
          AND minramcount <= w.memory AND maxdiskcount <= w.disk AND coalesce(maxwalltime, 0) <= w.walltime
        ORDER BY -currentpriority, pandaid LIMIT w.n FOR UPDATE SKIP LOCKED) a LIMIT w.n) j) q) q),
{claim_tail}

-- name: claim_filtered
-- One want with filters that no key shows (label equality, task, user, background, processing type, memory per core): within the
-- keys that can fit, rows are read until enough pass.
WITH p AS MATERIALIZED (SELECT array_agg(pandaid) ids, array_agg(slot) slots FROM (
  SELECT pandaid, row_number() OVER () AS slot FROM (
   SELECT a.pandaid
     FROM unnest(%(key_gshare)s::text[], %(key_rtype)s::text[], %(key_fit)s::int[], %(key_prio)s::int[], %(key_id)s::bigint[])
          k(gshare, rtype, fit, prio, id)
     CROSS JOIN LATERAL (SELECT pandaid FROM {panda}.jobsactive4
       WHERE jobstatus = 'activated' AND computingsite = %(queue)s AND coalesce(gshare, 'Undefined') = k.gshare
          AND coalesce(resource_type, 'Undefined') = k.rtype
         AND {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime) = k.fit
         AND (-currentpriority, pandaid) >= (k.prio, k.id)
         AND minramcount <= %(memory)s AND maxdiskcount <= %(disk)s AND coalesce(maxwalltime, 0) <= %(walltime)s
         AND (prodsourcelabel = ANY (%(labels)s::text[]) OR processingtype = ANY (%(processing_types)s::text[]))
         AND (%(task_id)s::bigint IS NULL OR jeditaskid = %(task_id)s)
         AND (%(user)s::text IS NULL OR produsername = %(user)s)
         AND (NOT %(background)s OR jobexecutionid = 1)
         AND (%(ram_per_core)s::numeric IS NULL OR minramcount <= %(ram_per_core)s * coalesce(corecount, 1))
       ORDER BY -currentpriority, pandaid LIMIT %(n)s FOR UPDATE SKIP LOCKED) a LIMIT %(n)s) j) q),
{claim_filtered_tail}

-- name: claim_oldest
-- prepare: queue text, memory bigint, disk bigint, walltime bigint, n int, labels text[], resource_type text, node text[], ce text[], scheduler text[], harvester text[], worker bigint[], now timestamp
-- One want served oldest first, among the 500 oldest of the queue (the sloppy share of calls; reference/database.md 1.6).
WITH p AS MATERIALIZED (SELECT array_agg(pandaid) ids, array_agg(slot) slots FROM (
  SELECT pandaid, row_number() OVER () AS slot FROM (
   SELECT j.pandaid FROM (
     SELECT pandaid FROM (SELECT pandaid, minramcount, maxdiskcount, maxwalltime, prodsourcelabel, resource_type
                            FROM {panda}.jobsactive4 WHERE jobstatus = 'activated' AND computingsite = %(queue)s
                           ORDER BY pandaid LIMIT 500) x
      WHERE minramcount <= %(memory)s AND maxdiskcount <= %(disk)s AND coalesce(maxwalltime, 0) <= %(walltime)s
        AND prodsourcelabel = ANY (%(labels)s::text[])
        AND (%(resource_type)s::text IS NULL OR resource_type = %(resource_type)s)
      ORDER BY pandaid) c
   CROSS JOIN LATERAL (SELECT pandaid FROM {panda}.jobsactive4
                        WHERE pandaid = c.pandaid AND jobstatus = 'activated' FOR UPDATE SKIP LOCKED) j
   LIMIT %(n)s) o) q),
{claim_tail}

-- name: touch_workers
-- Workers that pilots named are running, but for those that have just ended; one that Harvester has not announced yet is
-- written down. Of the rows that servers may have made of one worker the newest counts: all would get the same key. A row that
-- Harvester's report holds just now is left to it, since all that ask for jobs would wait for its end.
WITH w AS (SELECT DISTINCT ON (harvester, worker) * FROM unnest(%(harvester)s::text[], %(worker)s::bigint[], %(queue)s::text[])
             AS w(harvester, worker, queue)),
 l AS MATERIALIZED (SELECT h.harvesterid, h.workerid, h.lastupdate FROM w
   JOIN {panda}.harvester_workers h ON h.harvesterid = w.harvester AND h.workerid = w.worker
    AND h.lastupdate = (SELECT max(n.lastupdate) FROM {panda}.harvester_workers n
                         WHERE n.harvesterid = w.harvester AND n.workerid = w.worker) FOR UPDATE OF h SKIP LOCKED),
 u AS (UPDATE {panda}.harvester_workers h SET lastupdate = %(now)s, status = CASE
           WHEN h.status IN ('finished', 'failed', 'cancelled', 'missed') AND h.lastupdate > %(kept)s THEN h.status
           ELSE 'running' END
         FROM l WHERE h.harvesterid = l.harvesterid AND h.workerid = l.workerid AND h.lastupdate = l.lastupdate)
INSERT INTO {panda}.harvester_workers (harvesterid, workerid, lastupdate, status, computingsite, njobs)
SELECT w.harvester, w.worker, %(now)s, 'running', w.queue, 1 FROM w
 WHERE EXISTS (SELECT 1 FROM {panda}.harvester_instances i WHERE i.harvester_id = w.harvester)
   AND NOT EXISTS (SELECT 1 FROM {panda}.harvester_workers h WHERE h.harvesterid = w.harvester AND h.workerid = w.worker)

-- name: files
-- prepare: ids bigint[]
SELECT {file_columns} FROM {panda}.filestable4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid, row_id

-- name: parameters
-- prepare: ids bigint[]
SELECT pandaid, jobparameters FROM {panda}.jobparamstable WHERE pandaid = ANY (%(ids)s)

-- name: wait_for
-- prepare: ids bigint[]
-- Hold jobs, in the order of PandaIDs (R1): a claim whose end nobody knows may be under way in the server still.
SELECT pandaid FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE

-- name: give_back
-- Activate again what a claim took, where nothing has touched the row since (rule R3).
WITH g AS (SELECT * FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(nodes)s::text[], %(schedulers)s::text[])
             AS g(id, attempt, node, scheduler)),
 u AS (UPDATE {panda}.jobsactive4 j SET jobstatus = 'activated', modificationtime = %(now)s, starttime = NULL
         FROM g WHERE j.pandaid = g.id AND j.jobstatus = 'sent' AND j.attemptnr = g.attempt
          AND j.starttime = %(claimed)s AND j.modificationhost IS NOT DISTINCT FROM g.node
          AND j.schedulerid IS NOT DISTINCT FROM g.scheduler
       RETURNING j.pandaid, j.modificationtime, j.jobstatus, j.prodsourcelabel, j.cloud, j.computingsite,
                 j.modificationhost, j.gshare, j.resource_type, j.currentpriority,
                 {own}.fit_class_1(j.prodsourcelabel, j.minramcount, j.maxdiskcount, j.maxwalltime) AS fit),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
       SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
              modificationtime FROM u),
 r AS (DELETE FROM {panda}.harvester_rel_jobs_workers w USING u WHERE w.pandaid = u.pandaid)
SELECT pandaid, computingsite, gshare, resource_type, fit, currentpriority FROM u

-- name: secrets
SELECT owner, data FROM {panda}.secrets WHERE owner = ANY (%(owners)s) AND data IS NOT NULL
