-- How many jobs there are that have not ended, for those that ask for statistics: counted in the background.
CREATE TABLE {own}.job_counts (
    computingsite varchar(128),
    jobstatus varchar(15) NOT NULL,
    prodsourcelabel varchar(20),
    resource_type varchar(56),
    gshare varchar(32),
    cloud varchar(50),
    processingtype varchar(64),
    njobs bigint NOT NULL
);
COMMENT ON TABLE {own}.job_counts IS 'Jobs of jobsactive4 and jobsdefined4 by what statistics tell apart, as of counted.at of job_counts';
