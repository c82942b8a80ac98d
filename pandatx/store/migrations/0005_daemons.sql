-- What servers tell of their daemons, and which of these an operator has paused.
CREATE TABLE {own}.daemons (
    server varchar(255) NOT NULL,
    name varchar(200) NOT NULL,
    condition varchar(20) NOT NULL,
    period double precision NOT NULL,
    sync boolean NOT NULL,
    loop boolean NOT NULL,
    last_start timestamp,
    last_duration double precision,
    next_start timestamp,
    runs bigint NOT NULL,
    failures bigint NOT NULL,
    last_error text,
    late boolean NOT NULL,
    PRIMARY KEY (server, name)
);
COMMENT ON TABLE {own}.daemons IS 'The daemons of each server as it last told of them; server is instance of instances';

CREATE TABLE {own}.paused_daemons (
    name varchar(200) NOT NULL PRIMARY KEY,
    paused_by varchar(255) NOT NULL,
    since timestamp NOT NULL
);
COMMENT ON TABLE {own}.paused_daemons IS 'Daemons that no server runs until an operator resumes them';
