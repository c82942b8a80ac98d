-- Indexes and storage parameters of a database of our own (reference/database.md 8.2): no index on a column that a heartbeat
-- writes, and room on each page for the next version of a row.
CREATE INDEX jobsactive4_claim ON {panda}.jobsactive4 (computingsite, (coalesce(gshare, 'Undefined')),
    (coalesce(resource_type, 'Undefined')),
    {own}.fit_class_1(prodsourcelabel, minramcount, maxdiskcount, maxwalltime), (-currentpriority), pandaid,
    minramcount, maxdiskcount, (coalesce(maxwalltime, 0))) WHERE jobstatus = 'activated';
CREATE INDEX jobsactive4_oldest ON {panda}.jobsactive4 (computingsite, pandaid) WHERE jobstatus = 'activated';
CREATE INDEX jobsactive4_alive ON {panda}.jobsactive4 (pandaid)
    WHERE jobstatus IN ('sent', 'starting', 'running', 'holding', 'transferring', 'merging');
CREATE INDEX jobsdefined4_status ON {panda}.jobsdefined4 (jobstatus, pandaid);
CREATE INDEX filestable4_pandaid_idx ON {panda}.filestable4 (pandaid);
CREATE INDEX filestable4_dispdblock_idx ON {panda}.filestable4 (dispatchdblock) WHERE dispatchdblock IS NOT NULL;
CREATE INDEX filestable4_open_block ON {panda}.filestable4 (destinationdblock)
    WHERE status IN ('unknown', 'transferring') AND destinationdblock IS NOT NULL;
CREATE INDEX jobs_statuslog_pandaid_idx ON {panda}.jobs_statuslog (pandaid);
CREATE INDEX harvrel_jobworkers_pandaid_idx ON {panda}.harvester_rel_jobs_workers (pandaid);
CREATE INDEX datasets_name_idx ON {panda}.datasets (name);
CREATE INDEX users_name_idx ON {meta}.users (name, vo);
CREATE INDEX jobsarchived4_status_time ON {panda}.jobsarchived4 (jobstatus, modificationtime);
CREATE INDEX pandalog_bintime_indx ON {panda}.pandalog (bintime, type);

ALTER TABLE {panda}.jobsactive4 SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE {panda}.jobsdefined4 SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE {panda}.filestable4 SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE {panda}.job_output_report SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
