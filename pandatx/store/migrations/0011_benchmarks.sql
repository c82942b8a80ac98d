-- Scores of CPUs: of the PanDA schema, but no part of what this server needs of a database that it finds.
CREATE TABLE {panda}.cpu_benchmarks (
    cpu_type varchar(128),
    smt_enabled smallint,
    sockets smallint,
    cores_per_socket integer,
    ncores integer,
    site varchar(128),
    score_per_core numeric(10,2),
    timestamp timestamp,
    source varchar(256),
    cpu_type_normalized varchar(128)
);
CREATE INDEX idx_worker_node_cpu_type_norm ON {panda}.cpu_benchmarks (cpu_type_normalized);
