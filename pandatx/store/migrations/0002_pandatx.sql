-- What this server keeps for itself, beside the PanDA tables of any database, its own or found.
CREATE SCHEMA IF NOT EXISTS {own};

-- The class of pilots that a waiting job fits: label, memory, disk and wall-clock buckets. pandatx/domain/fit.py computes
-- the same number; changed bounds are a new function with a new index, so the version is in the name.
CREATE FUNCTION {own}.fit_class_1(label varchar, ram bigint, disk bigint, wall bigint) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
 SELECT CASE WHEN label = 'managed' THEN 1 WHEN label IN ('test', 'prod_test') THEN 2 WHEN label = 'install' THEN 3
             WHEN label IN ('user', 'panda') THEN 4 ELSE 9 END * 100000
  + width_bucket(ram, '{1,501,1001,1501,2001,2501,3001,3501,4001,5001,6001,8001,10001,12001,16001,20001,24001,32001,48001,64001,128001}'::bigint[]) * 1000
  + width_bucket(disk, '{1,501,1001,2001,5001,10001,15001,20001,30001,50001,100001}'::bigint[]) * 10
  + width_bucket(coalesce(wall, 0), '{1,3601,10801,21601,43201,86401,172801,259201,345601}'::bigint[]) $$;

CREATE TABLE {own}.instances (
    instance varchar(255) NOT NULL PRIMARY KEY,
    host varchar(255) NOT NULL,
    started timestamp NOT NULL,
    seen timestamp NOT NULL,
    spooled integer NOT NULL DEFAULT 0,
    outage_ended timestamp
);
COMMENT ON TABLE {own}.instances IS 'Servers on this database, the final reports in their spools, and when they last got the database back (rule R4)';

CREATE TABLE {own}.request_counts (
    instance varchar(255) NOT NULL,
    queue varchar(128) NOT NULL,
    minute timestamp NOT NULL,
    get_job bigint NOT NULL DEFAULT 0,
    no_job bigint NOT NULL DEFAULT 0,
    update_job bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, queue, minute)
);

CREATE TABLE {own}.owners (
    name varchar(60) NOT NULL PRIMARY KEY,
    subject varchar(500) NOT NULL,
    first_seen timestamp NOT NULL
);
COMMENT ON TABLE {own}.owners IS 'The DN or (issuer, subject) that an owner name was first seen with; no other may use it (rule R27)';

CREATE TABLE {own}.counted (
    what varchar(40) NOT NULL PRIMARY KEY,
    at timestamp NOT NULL
);
COMMENT ON TABLE {own}.counted IS 'When our servers last counted something, to tell their rows from those of others (rule R12)';
