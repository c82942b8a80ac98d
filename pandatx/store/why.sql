-- name: ahead
-- Activated jobs before this one in its class, in the order of dispatch; counted up to a limit.
SELECT count(*) FROM (SELECT 1 FROM {panda}.jobsactive4
  WHERE jobstatus = 'activated' AND computingsite = %(queue)s AND coalesce(gshare, 'Undefined') = %(gshare)s
    AND coalesce(resource_type, 'Undefined') = %(rtype)s
    AND {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime) = %(fit)s
    AND (-currentpriority, pandaid) < (%(priority)s, %(panda_id)s) LIMIT %(limit)s) x

-- name: report
SELECT jobstatus, timestamp, lockedby, lockedtime FROM {panda}.job_output_report
 WHERE pandaid = %(panda_id)s ORDER BY attemptnr DESC LIMIT 1

-- name: blocks
SELECT name, max(status) FROM {panda}.datasets WHERE name = ANY (%(names)s::text[]) AND type = 'dispatch' GROUP BY name

-- name: workers
SELECT w.harvesterid, w.workerid, w.status, w.diagmessage, w.lastupdate
  FROM {panda}.harvester_rel_jobs_workers r
  JOIN {panda}.harvester_workers w ON w.harvesterid = r.harvesterid AND w.workerid = r.workerid
 WHERE r.pandaid = %(panda_id)s ORDER BY r.workerid DESC LIMIT 5
