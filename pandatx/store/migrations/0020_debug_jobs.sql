-- Jobs that users and working groups have put into debug mode, whose number is limited.
CREATE TABLE {own}.debug_jobs (
    panda_id bigint PRIMARY KEY,
    holder varchar(300) NOT NULL
);
CREATE INDEX debug_jobs_holder ON {own}.debug_jobs (holder);
COMMENT ON TABLE {own}.debug_jobs IS 'Whose limit a job in debug mode counts for; rows of jobs that ended go with the next request of their holder';
