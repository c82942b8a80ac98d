-- name: activate
-- prepare: ids bigint[], now timestamp
-- Move jobs to the active table; the keys that dispatch needs of those that were moved.
WITH d AS (DELETE FROM {panda}.jobsdefined4
            WHERE pandaid = ANY (%(ids)s) AND jobstatus IN ('defined', 'assigned', 'waiting') AND commandtopilot IS NULL
           RETURNING {columns}),
 a AS (INSERT INTO {panda}.jobsactive4 ({columns}) SELECT {activated} FROM d
       RETURNING {keys}, modificationtime, jobstatus, cloud, modificationhost),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
       SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
              modificationtime FROM a)
SELECT {keys} FROM a

-- name: lock
-- prepare: ids bigint[]
-- Jobs that are not yet activated, locked in the order of PandaIDs (rule R1).
SELECT pandaid FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid FOR UPDATE

-- name: change
-- prepare: rows json, now timestamp
-- Jobs that stay: assigned, waiting, or as they were with a new modification time.
WITH v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s)
                          v(pandaid bigint, jobstatus varchar(15), dispatchdblock varchar(255))),
 u AS (UPDATE {panda}.jobsdefined4 j SET modificationtime = %(now)s,
    dispatchdblock = coalesce(v.dispatchdblock, j.dispatchdblock),
    statechangetime = CASE WHEN v.jobstatus <> j.jobstatus THEN %(now)s ELSE j.statechangetime END,
    jobstatus = coalesce(v.jobstatus, j.jobstatus)
   FROM v WHERE j.pandaid = v.pandaid AND j.jobstatus IN ('defined', 'assigned', 'waiting')
   RETURNING j.pandaid, j.modificationtime, j.jobstatus, j.prodsourcelabel, j.cloud, j.computingsite,
             j.modificationhost, j.statechangetime)
INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                    modificationhost, modiftime_extended)
SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost, modificationtime
  FROM u WHERE statechangetime = %(now)s

-- name: files
-- prepare: rows json
-- What a setup changes in files; a key that a row lacks keeps its column.
UPDATE {panda}.filestable4 f SET {assignments}
  FROM json_to_recordset(%(rows)s) v({file_typed}) WHERE f.row_id = v.row_id

-- name: add_datasets
-- prepare: rows json, now timestamp
INSERT INTO {panda}.datasets (vuid, name, type, status, numberfiles, currentfiles, creationdate, modificationdate, subtype)
SELECT vuid, name, type, status, numberfiles, 0, %(now)s, %(now)s, subtype
  FROM json_to_recordset(%(rows)s) v(vuid varchar(40), name varchar(255), type varchar(20), status varchar(10),
                                     numberfiles integer, subtype varchar(5))
 WHERE NOT EXISTS (SELECT 1 FROM {panda}.datasets d WHERE d.name = v.name AND d.type = v.type)

-- name: set_dataset
UPDATE {panda}.datasets SET status = %(status)s, modificationdate = %(now)s
 WHERE name = %(name)s AND type = %(type)s AND coalesce(status, '') NOT IN ('deleting', 'deleted')

-- name: datasets
SELECT type, status FROM {panda}.datasets WHERE name = %(name)s ORDER BY creationdate

-- name: jobs_of_block
-- Jobs with files that wait for a dispatch block, and their owners.
SELECT DISTINCT j.pandaid, j.produsername, j.prodsourcelabel
  FROM {panda}.filestable4 f JOIN {panda}.jobsdefined4 j ON j.pandaid = f.pandaid
 WHERE f.dispatchdblock = %(name)s ORDER BY j.pandaid

-- name: owners_of_block
-- To whom the jobs belong that have yet to bring files to a block; by the index of open blocks.
SELECT DISTINCT coalesce(a.produsername, d.produsername) AS owner
  FROM {panda}.filestable4 f
  LEFT JOIN {panda}.jobsactive4 a ON a.pandaid = f.pandaid
  LEFT JOIN {panda}.jobsdefined4 d ON d.pandaid = f.pandaid
 WHERE f.destinationdblock = %(name)s AND f.status IN ('unknown', 'transferring')
   AND coalesce(a.pandaid, d.pandaid) IS NOT NULL

-- name: files_there
-- The files of a dispatch block that were awaited.
UPDATE {panda}.filestable4 SET status = 'ready'
 WHERE dispatchdblock = %(name)s AND pandaid = ANY (%(ids)s) AND coalesce(status, '') NOT IN ('ready', 'cached')

-- name: complete_jobs
-- prepare: ids bigint[]
-- Those of the jobs whose inputs are all there.
SELECT pandaid FROM {panda}.jobsdefined4 j WHERE pandaid = ANY (%(ids)s)
   AND NOT EXISTS (SELECT 1 FROM {panda}.filestable4 f
                    WHERE f.pandaid = j.pandaid AND f.type = 'input' AND coalesce(f.status, '') NOT IN ('ready', 'cached'))
 ORDER BY pandaid

-- name: claim_left
-- Jobs whose setup never happened, or is to be looked at again; the new modification time keeps other servers off them.
UPDATE {panda}.jobsdefined4 SET modificationtime = %(now)s
 WHERE jobstatus = %(status)s AND pandaid = ANY (ARRAY(
   SELECT pandaid FROM {panda}.jobsdefined4
    WHERE jobstatus = %(status)s AND modificationtime <= %(before)s AND NOT pandaid = ANY (%(busy)s::bigint[])
    ORDER BY pandaid LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING {columns}

-- name: files_of
-- prepare: ids bigint[]
SELECT {file_columns} FROM {panda}.filestable4 WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid, row_id
