-- name: take
-- The workers that a Harvester believes to wait or to run, though their pilots have said otherwise; noted as told of.
UPDATE {panda}.harvester_workers w SET pilotstatussynctime = %(now)s
  FROM (SELECT harvesterid, workerid, lastupdate FROM {panda}.harvester_workers
         WHERE ((status IN ('submitted', 'ready') AND pilotstatus = 'started' AND pilotstarttime < %(known)s)
             OR (status IN ('submitted', 'ready', 'running', 'idle') AND pilotstatus = 'finished'
                 AND pilotendtime < %(known)s))
           AND lastupdate > %(changed)s AND submittime > %(submitted)s
           AND (pilotstatussynctime IS NULL OR pilotstatussynctime < %(told)s)
         ORDER BY harvesterid, workerid LIMIT %(limit)s FOR UPDATE SKIP LOCKED) s
 WHERE w.harvesterid = s.harvesterid AND w.workerid = s.workerid AND w.lastupdate = s.lastupdate
RETURNING w.harvesterid AS harvester, w.workerid AS worker, w.pilotstatus AS pilot_status
