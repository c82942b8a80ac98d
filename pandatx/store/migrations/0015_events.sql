-- Ranges of events that wait for a job: few beside those that have had theirs. In a database of our own only.
CREATE INDEX jedi_events_ready ON {panda}.jedi_events (jeditaskid, pandaid, fileid, job_processid)
    WHERE status = 0;
