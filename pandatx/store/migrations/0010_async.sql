-- Who works on which asynchronous request, and until when nobody else may: the PanDA tables have no place for it.
CREATE TABLE {own}.async_work (
    request_id varchar(64) NOT NULL,
    machine_name varchar(128) NOT NULL,
    instance varchar(255) NOT NULL,
    attempt smallint NOT NULL,
    until timestamp NOT NULL,
    PRIMARY KEY (request_id, machine_name)
);
COMMENT ON TABLE {own}.async_work IS 'Leases on asynchronous requests that run, and when those that wait may be tried again';
