-- What pilots asked for, by queue and ten minutes, so that a job can be told why nobody took it.
CREATE TABLE {own}.asks (
    instance varchar(128) NOT NULL,
    queue varchar(128) NOT NULL,
    since timestamp NOT NULL,
    want text NOT NULL,
    asked bigint NOT NULL,
    served bigint NOT NULL,
    refused bigint NOT NULL,
    last timestamp NOT NULL
);
CREATE UNIQUE INDEX asks_queue ON {own}.asks (queue, since, instance, md5(want));
CREATE INDEX asks_since ON {own}.asks (since);
