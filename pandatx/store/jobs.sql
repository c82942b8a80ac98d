-- name: statuses
-- prepare: ids bigint[]
SELECT pandaid, jobstatus, attemptnr FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid, jobstatus, attemptnr FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid, jobstatus, attemptnr FROM {panda}.jobsarchived4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid, jobstatus, attemptnr FROM {arch}.jobsarchived WHERE pandaid = ANY (%(ids)s)

-- name: commands
-- prepare: ids bigint[], since timestamp
-- Active jobs, and those archived a short time ago.
SELECT pandaid, jobstatus, commandtopilot FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid, jobstatus, commandtopilot FROM {panda}.jobsarchived4
 WHERE pandaid = ANY (%(ids)s) AND modificationtime > %(since)s

-- name: live
-- prepare: ids bigint[]
SELECT {columns} FROM {panda}.jobsdefined4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT {columns} FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT {columns} FROM {panda}.jobsarchived4 WHERE pandaid = ANY (%(ids)s)

-- name: old
-- prepare: ids bigint[]
SELECT {columns} FROM {arch}.jobsarchived WHERE pandaid = ANY (%(ids)s)

-- name: files
-- prepare: ids bigint[]
-- Wherever they are: in one statement, since the archiver may move them at any moment.
SELECT {file_columns} FROM {panda}.filestable4 WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT {file_columns} FROM {arch}.filestable_arch WHERE pandaid = ANY (%(ids)s) ORDER BY pandaid, row_id

-- name: texts
-- prepare: ids bigint[]
SELECT pandaid, jobparameters, NULL AS metadata FROM {panda}.jobparamstable WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid, NULL, metadata FROM {panda}.metatable WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid, jobparameters, NULL FROM {arch}.jobparamstable_arch WHERE pandaid = ANY (%(ids)s)
UNION ALL SELECT pandaid, NULL, metadata FROM {arch}.metatable_arch WHERE pandaid = ANY (%(ids)s)

-- name: find
-- The newest jobs of a status, queue or owner.
SELECT {columns} FROM (
  (SELECT {columns} FROM {panda}.jobsdefined4 WHERE {wanted} ORDER BY pandaid DESC LIMIT %(limit)s)
  UNION ALL (SELECT {columns} FROM {panda}.jobsactive4 WHERE {wanted} ORDER BY pandaid DESC LIMIT %(limit)s)
  UNION ALL (SELECT {columns} FROM {panda}.jobsarchived4 WHERE {wanted} ORDER BY pandaid DESC LIMIT %(limit)s)) j
 ORDER BY pandaid DESC LIMIT %(limit)s

-- name: find_old
-- The same of the archive's schema.
SELECT {columns} FROM {arch}.jobsarchived WHERE {wanted} ORDER BY pandaid DESC LIMIT %(limit)s
