-- The tables of the PanDA PostgreSQL schema 0.1.6 (reference/lifecycle.md 8) that this server uses, for a database of its
-- own: every job table has the widest type of each column, and nothing is partitioned (rule R9).
CREATE SCHEMA IF NOT EXISTS {panda};
CREATE SCHEMA IF NOT EXISTS {arch};
CREATE SCHEMA IF NOT EXISTS {meta};

CREATE SEQUENCE {panda}.jobsdefined4_pandaid_seq;
CREATE SEQUENCE {panda}.filestable4_row_id_seq CACHE 20;
CREATE SEQUENCE {panda}.subcounter_subid_seq MAXVALUE 9999999 CYCLE;
CREATE SEQUENCE {panda}.harvester_command_id_seq;
CREATE SEQUENCE {panda}.group_jobid_seq;
CREATE SEQUENCE {meta}.users_id_seq;
CREATE SEQUENCE {meta}.proxykey_id_seq;

CREATE TABLE {panda}.jobsactive4 (
    pandaid bigint DEFAULT '0' NOT NULL,
    jobdefinitionid bigint DEFAULT '0' NOT NULL,
    schedulerid varchar(128),
    pilotid varchar(200),
    creationtime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    creationhost varchar(128),
    modificationtime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    modificationhost varchar(128),
    atlasrelease varchar(64),
    transformation varchar(250),
    homepackage varchar(80),
    prodserieslabel varchar(20),
    prodsourcelabel varchar(20),
    produserid varchar(250),
    assignedpriority integer DEFAULT '0' NOT NULL,
    currentpriority integer DEFAULT '0' NOT NULL,
    attemptnr smallint DEFAULT '0' NOT NULL,
    maxattempt smallint DEFAULT '0' NOT NULL,
    jobstatus varchar(15) DEFAULT 'activated' NOT NULL,
    jobname varchar(256),
    maxcpucount bigint DEFAULT '0' NOT NULL,
    maxcpuunit varchar(32),
    maxdiskcount bigint DEFAULT '0' NOT NULL,
    maxdiskunit char(4),
    ipconnectivity char(5),
    minramcount bigint DEFAULT '0' NOT NULL,
    minramunit char(2),
    starttime timestamp,
    endtime timestamp,
    cpuconsumptiontime numeric(20) DEFAULT '0' NOT NULL,
    cpuconsumptionunit varchar(128),
    commandtopilot varchar(250),
    transexitcode varchar(128),
    piloterrorcode integer DEFAULT '0' NOT NULL,
    piloterrordiag varchar(500),
    exeerrorcode integer DEFAULT '0' NOT NULL,
    exeerrordiag varchar(500),
    superrorcode integer DEFAULT '0' NOT NULL,
    superrordiag varchar(250),
    ddmerrorcode integer DEFAULT '0' NOT NULL,
    ddmerrordiag varchar(700),
    brokerageerrorcode integer DEFAULT '0' NOT NULL,
    brokerageerrordiag varchar(250),
    jobdispatchererrorcode integer DEFAULT '0' NOT NULL,
    jobdispatchererrordiag varchar(250),
    taskbuffererrorcode integer DEFAULT '0' NOT NULL,
    taskbuffererrordiag varchar(300),
    computingsite varchar(128),
    computingelement varchar(128),
    jobparameters text,
    metadata text,
    proddblock varchar(255),
    dispatchdblock varchar(255),
    destinationdblock varchar(255),
    destinationse varchar(250),
    nevents bigint DEFAULT '0' NOT NULL,
    grid varchar(50),
    cloud varchar(50),
    cpuconversion decimal(9,4),
    sourcesite varchar(36),
    destinationsite varchar(36),
    transfertype varchar(10),
    taskid integer,
    cmtconfig varchar(250),
    statechangetime timestamp,
    proddbupdatetime timestamp,
    lockedby varchar(128),
    relocationflag smallint DEFAULT '0',
    jobexecutionid bigint DEFAULT '0',
    vo varchar(32),
    pilottiming varchar(100),
    workinggroup varchar(20),
    processingtype varchar(64),
    produsername varchar(60),
    ninputfiles integer,
    countrygroup varchar(20),
    batchid varchar(80),
    parentid bigint,
    specialhandling varchar(80),
    jobsetid bigint,
    corecount smallint,
    ninputdatafiles integer,
    inputfiletype varchar(32),
    inputfileproject varchar(64),
    inputfilebytes bigint,
    noutputdatafiles integer,
    outputfilebytes bigint,
    jobmetrics varchar(500),
    workqueue_id integer,
    jeditaskid bigint,
    jobsubstatus varchar(80),
    actualcorecount integer,
    reqid integer,
    maxrss bigint,
    maxvmem bigint,
    maxswap bigint,
    maxpss bigint,
    avgrss bigint,
    avgvmem bigint,
    avgswap bigint,
    avgpss bigint,
    maxwalltime bigint,
    nucleus varchar(52),
    eventservice smallint,
    failedattempt smallint,
    hs06sec bigint,
    gshare varchar(32),
    hs06 bigint,
    totrchar bigint,
    totwchar bigint,
    totrbytes bigint,
    totwbytes bigint,
    raterchar bigint,
    ratewchar bigint,
    raterbytes bigint,
    ratewbytes bigint,
    resource_type varchar(56),
    diskio integer,
    memory_leak bigint,
    memory_leak_x2 decimal(14,3),
    container_name varchar(200),
    job_label varchar(20),
    gco2_regional decimal(10,2),
    gco2_global decimal(10,2),
    cpu_architecture_level varchar(20),
    outputfiletype varchar(32),
    meancorecount decimal(8,2),
    CONSTRAINT jobsactive4_pk PRIMARY KEY (pandaid)
);

CREATE TABLE {panda}.jobsdefined4 (
    LIKE {panda}.jobsactive4 INCLUDING DEFAULTS,
    CONSTRAINT jobsdefined4_pk PRIMARY KEY (pandaid)
);

CREATE TABLE {panda}.jobsarchived4 (
    LIKE {panda}.jobsactive4 INCLUDING DEFAULTS,
    CONSTRAINT jobsarchived4_pk PRIMARY KEY (pandaid, modificationtime)
);

CREATE TABLE {arch}.jobsarchived (
    LIKE {panda}.jobsactive4 INCLUDING DEFAULTS
);

CREATE TABLE {panda}.filestable4 (
    row_id bigint NOT NULL,
    pandaid bigint DEFAULT '0' NOT NULL,
    modificationtime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    guid varchar(64),
    lfn varchar(4000),
    type varchar(20),
    dataset varchar(255),
    status varchar(64),
    proddblock varchar(255),
    proddblocktoken varchar(250),
    dispatchdblock varchar(255),
    dispatchdblocktoken varchar(250),
    destinationdblock varchar(255),
    destinationdblocktoken varchar(250),
    destinationse varchar(250),
    fsize bigint DEFAULT '0' NOT NULL,
    md5sum varchar(36),
    checksum varchar(36),
    scope varchar(30),
    jeditaskid bigint,
    datasetid bigint,
    fileid bigint,
    attemptnr smallint,
    CONSTRAINT filestable4_pk PRIMARY KEY (row_id, modificationtime)
);

CREATE TABLE {arch}.filestable_arch (
    LIKE {panda}.filestable4 INCLUDING DEFAULTS,
    creationtime timestamp
);

CREATE TABLE {panda}.jobparamstable (
    pandaid bigint NOT NULL,
    modificationtime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    jobparameters text,
    CONSTRAINT jobparamstable_pk PRIMARY KEY (pandaid, modificationtime)
);

CREATE TABLE {arch}.jobparamstable_arch (
    pandaid bigint NOT NULL,
    modificationtime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    jobparameters text
);

CREATE TABLE {panda}.metatable (
    pandaid bigint NOT NULL,
    modificationtime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    metadata text,
    CONSTRAINT metatable_pk PRIMARY KEY (pandaid, modificationtime)
);

CREATE TABLE {arch}.metatable_arch (
    pandaid bigint NOT NULL,
    modificationtime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    metadata text
);

CREATE TABLE {panda}.jobsdebug (
    pandaid bigint NOT NULL,
    stdout varchar(2048),
    CONSTRAINT jobsdebug_pk PRIMARY KEY (pandaid)
);

CREATE TABLE {panda}.jobs_statuslog (
    pandaid bigint NOT NULL,
    modificationtime timestamp NOT NULL,
    jobstatus varchar(15) NOT NULL,
    prodsourcelabel varchar(20),
    cloud varchar(50),
    computingsite varchar(128),
    modificationhost varchar(128),
    modiftime_extended timestamp
);

CREATE TABLE {panda}.job_output_report (
    pandaid bigint NOT NULL,
    prodsourcelabel varchar(20),
    jobstatus varchar(15) NOT NULL,
    attemptnr smallint NOT NULL,
    data text,
    timestamp timestamp NOT NULL,
    lockedby varchar(56),
    lockedtime timestamp,
    CONSTRAINT job_output_report_pk PRIMARY KEY (pandaid, attemptnr)
);

CREATE TABLE {panda}.datasets (
    vuid varchar(40) NOT NULL,
    name varchar(255) NOT NULL,
    version varchar(10),
    type varchar(20),
    status varchar(10),
    numberfiles integer,
    currentfiles integer,
    creationdate timestamp,
    modificationdate timestamp NOT NULL,
    moverid bigint DEFAULT 0 NOT NULL,
    transferstatus smallint DEFAULT 0 NOT NULL,
    subtype varchar(5),
    CONSTRAINT datasets_pk PRIMARY KEY (vuid, modificationdate)
);

CREATE TABLE {panda}.sql_queue (
    topic varchar(50) NOT NULL,
    pandaid bigint NOT NULL,
    execution_order integer NOT NULL,
    jeditaskid bigint,
    creationtime timestamp,
    data varchar(4000),
    CONSTRAINT sql_queue_pk PRIMARY KEY (topic, pandaid, execution_order)
);

CREATE TABLE {panda}.job_metrics (
    pandaid bigint NOT NULL,
    jeditaskid bigint,
    creationtime timestamp,
    modificationtime timestamp NOT NULL,
    data text,
    CONSTRAINT job_metrics_pk PRIMARY KEY (pandaid, modificationtime)
);

CREATE TABLE {panda}.schedconfig_json (
    panda_queue varchar(50) NOT NULL,
    data json,
    last_update timestamp,
    CONSTRAINT schedconfig_json_pk PRIMARY KEY (panda_queue)
);

CREATE TABLE {panda}.panda_site (
    panda_site_name varchar(52) NOT NULL,
    site_name varchar(52) NOT NULL,
    storage_site_name varchar(52),
    default_ddm_endpoint varchar(52),
    is_local char(1),
    CONSTRAINT panda_site_pk PRIMARY KEY (panda_site_name)
);

CREATE TABLE {panda}.site (
    site_name varchar(52) NOT NULL,
    role varchar(256),
    tier_level smallint,
    state varchar(52),
    CONSTRAINT site_pk PRIMARY KEY (site_name)
);

CREATE TABLE {panda}.resource_types (
    resource_name varchar(56) NOT NULL,
    mincore integer,
    maxcore integer,
    minrampercore integer,
    maxrampercore integer,
    CONSTRAINT resource_types_pk PRIMARY KEY (resource_name)
);

CREATE TABLE {panda}.global_shares (
    name varchar(32) NOT NULL,
    value smallint NOT NULL,
    parent varchar(32),
    prodsourcelabel varchar(100),
    workinggroup varchar(100),
    campaign varchar(100),
    processingtype varchar(100),
    vo varchar(32),
    queue_id integer,
    throttled char(1),
    transpath varchar(128),
    rtype varchar(32),
    CONSTRAINT global_shares_pk PRIMARY KEY (name),
    CONSTRAINT global_shares_uq UNIQUE (queue_id)
);

CREATE TABLE {panda}.jedi_work_queue (
    queue_id integer NOT NULL,
    queue_name varchar(32) NOT NULL,
    queue_type varchar(32) NOT NULL,
    vo varchar(32) NOT NULL,
    status varchar(64),
    partitionid integer,
    stretchable smallint,
    queue_share smallint,
    queue_order smallint,
    criteria varchar(256),
    variables varchar(256),
    queue_function varchar(32),
    CONSTRAINT jedi_work_queue_pk PRIMARY KEY (queue_id),
    CONSTRAINT jedi_work_queue_uq UNIQUE (queue_name, queue_type, vo)
);

CREATE TABLE {panda}.config (
    app varchar(64) NOT NULL,
    component varchar(64) NOT NULL,
    key varchar(64) NOT NULL,
    value varchar(256) NOT NULL,
    type varchar(64) NOT NULL,
    vo varchar(32) NOT NULL,
    descr varchar(256) NOT NULL,
    value_json jsonb,
    CONSTRAINT config_pk PRIMARY KEY (app, component, key, vo)
);

CREATE TABLE {panda}.pandadb_version (
    component varchar(100) NOT NULL,
    major integer NOT NULL,
    minor integer NOT NULL,
    patch integer NOT NULL,
    CONSTRAINT pandadb_version_pk PRIMARY KEY (component)
);

CREATE TABLE {panda}.jedi_process_lock (
    vo varchar(32) NOT NULL,
    prodsourcelabel varchar(20) NOT NULL,
    workqueue_id integer NOT NULL,
    cloud varchar(10) NOT NULL,
    lockedby varchar(56),
    lockedtime timestamp,
    resource_type varchar(56) NOT NULL,
    component varchar(56) NOT NULL,
    CONSTRAINT jedi_process_lock_pk PRIMARY KEY (vo, prodsourcelabel, workqueue_id, cloud, resource_type, component)
);

CREATE TABLE {panda}.retryerrors (
    retryerror_id bigint NOT NULL,
    errorsource varchar(256) NOT NULL,
    errorcode bigint NOT NULL,
    active char(1) DEFAULT 'Y' NOT NULL,
    retryaction bigint NOT NULL,
    errordiag varchar(256),
    parameters varchar(256),
    architecture varchar(256),
    release varchar(64),
    workqueue_id integer,
    description varchar(250),
    expiration_date timestamp,
    CONSTRAINT retryerrors_pk PRIMARY KEY (retryerror_id)
);

CREATE TABLE {panda}.retryactions (
    retryaction_id bigint NOT NULL,
    retry_action varchar(50) NOT NULL,
    active char(1) DEFAULT 'Y' NOT NULL,
    retry_description varchar(250),
    CONSTRAINT retryactions_pk PRIMARY KEY (retryaction_id)
);

CREATE TABLE {panda}.error_classification (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 1000000),
    error_source varchar(30) NOT NULL,
    error_code bigint NOT NULL,
    error_diag varchar(256) NOT NULL,
    description varchar(250),
    error_class varchar(30) NOT NULL,
    active char(1) NOT NULL,
    reg_date timestamp DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
    CONSTRAINT error_classification_pk PRIMARY KEY (id)
);

CREATE TABLE {panda}.cache (
    main_key varchar(56) NOT NULL,
    sub_key varchar(56) NOT NULL,
    data text,
    last_update timestamp,
    CONSTRAINT cache_pk PRIMARY KEY (main_key, sub_key)
);

CREATE TABLE {panda}.metrics (
    computingsite varchar(128),
    gshare varchar(32),
    metric varchar(128),
    value_json json,
    timestamp timestamp,
    CONSTRAINT metrics_uq UNIQUE (computingsite, gshare, metric)
);

CREATE TABLE {panda}.pandalog (
    bintime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    name varchar(30),
    module varchar(30),
    loguser varchar(80),
    type varchar(20),
    pid bigint DEFAULT '0' NOT NULL,
    loglevel integer DEFAULT '0' NOT NULL,
    levelname varchar(30),
    time varchar(30),
    filename varchar(100),
    line integer DEFAULT '0' NOT NULL,
    message varchar(4000)
);

CREATE TABLE {meta}.users (
    id integer NOT NULL,
    name varchar(60) NOT NULL,
    dn varchar(150),
    email varchar(60),
    url varchar(100),
    location varchar(60),
    classa varchar(30),
    classp varchar(30),
    classxp varchar(30),
    sitepref varchar(60),
    gridpref varchar(20),
    queuepref varchar(60),
    scriptcache varchar(100),
    types varchar(60),
    sites varchar(250),
    njobsa bigint,
    njobsp bigint,
    njobs1 bigint,
    njobs7 bigint,
    njobs30 bigint,
    cpua1 bigint,
    cpua7 bigint,
    cpua30 bigint,
    cpup1 bigint,
    cpup7 bigint,
    cpup30 bigint,
    cpuxp1 bigint,
    cpuxp7 bigint,
    cpuxp30 bigint,
    quotaa1 bigint,
    quotaa7 bigint,
    quotaa30 bigint,
    quotap1 bigint,
    quotap7 bigint,
    quotap30 bigint,
    quotaxp1 bigint,
    quotaxp7 bigint,
    quotaxp30 bigint,
    space1 bigint,
    space7 bigint,
    space30 bigint,
    lastmod timestamp DEFAULT (now() AT TIME ZONE 'UTC') NOT NULL,
    firstjob timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    latestjob timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    pagecache text,
    cachetime timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    ncurrent bigint DEFAULT '0' NOT NULL,
    jobid bigint DEFAULT '0' NOT NULL,
    status varchar(20),
    vo varchar(20),
    CONSTRAINT users_pk PRIMARY KEY (id)
);

CREATE TABLE {meta}.usercacheusage (
    username varchar(128) NOT NULL,
    filename varchar(256) NOT NULL,
    hostname varchar(64) NOT NULL,
    creationtime timestamp NOT NULL,
    modificationtime timestamp,
    filesize bigint,
    checksum varchar(36),
    aliasname varchar(256),
    CONSTRAINT usercacheusage_pk PRIMARY KEY (filename, hostname, creationtime)
);

CREATE TABLE {panda}.secrets (
    owner varchar(60) NOT NULL,
    updated_at timestamp NOT NULL,
    data text,
    CONSTRAINT secrets_pk PRIMARY KEY (owner)
);

CREATE TABLE {meta}.proxykey (
    id bigint NOT NULL,
    dn varchar(100) NOT NULL,
    credname varchar(40) NOT NULL,
    created timestamp DEFAULT (now() AT TIME ZONE 'UTC') NOT NULL,
    expires timestamp DEFAULT '1970-01-01 00:00:00' NOT NULL,
    origin varchar(80) NOT NULL,
    myproxy varchar(80) NOT NULL,
    CONSTRAINT proxykey_pk PRIMARY KEY (id)
);

CREATE TABLE {meta}.sitedata (
    site varchar(60) NOT NULL,
    flag varchar(30) NOT NULL,
    hours integer DEFAULT '0' NOT NULL,
    nwn integer,
    memmin integer,
    memmax integer,
    si2000min integer,
    si2000max integer,
    os varchar(30),
    space varchar(30),
    minjobs integer,
    maxjobs integer,
    laststart timestamp,
    lastend timestamp,
    lastfail timestamp,
    lastpilot timestamp,
    lastpid integer,
    nstart integer DEFAULT '0' NOT NULL,
    finished integer DEFAULT '0' NOT NULL,
    failed integer DEFAULT '0' NOT NULL,
    defined integer DEFAULT '0' NOT NULL,
    assigned integer DEFAULT '0' NOT NULL,
    waiting integer DEFAULT '0' NOT NULL,
    activated integer DEFAULT '0' NOT NULL,
    holding integer DEFAULT '0' NOT NULL,
    running integer DEFAULT '0' NOT NULL,
    transferring integer DEFAULT '0' NOT NULL,
    getjob integer DEFAULT '0' NOT NULL,
    updatejob integer DEFAULT '0' NOT NULL,
    lastmod timestamp DEFAULT (now() AT TIME ZONE 'UTC') NOT NULL,
    ncpu integer,
    nslot integer,
    nojob integer,
    getjobabs bigint,
    updatejobabs bigint,
    nojobabs bigint,
    CONSTRAINT sitedata_pk PRIMARY KEY (site, flag, hours)
);

CREATE TABLE {panda}.harvester_instances (
    harvester_id varchar(50) NOT NULL,
    description varchar(200),
    starttime timestamp,
    owner varchar(100),
    hostname varchar(100),
    lastupdate timestamp,
    sw_version varchar(50),
    commit_stamp varchar(100),
    CONSTRAINT harvester_instances_pk PRIMARY KEY (harvester_id)
);

CREATE TABLE {panda}.harvester_workers (
    harvesterid varchar(50) NOT NULL,
    workerid bigint NOT NULL,
    lastupdate timestamp NOT NULL,
    status varchar(80) NOT NULL,
    batchid varchar(80),
    nodeid varchar(80),
    queuename varchar(80),
    computingsite varchar(128),
    submittime timestamp,
    starttime timestamp,
    endtime timestamp,
    ncore integer,
    errorcode integer,
    stdout varchar(250),
    stderr varchar(250),
    batchlog varchar(250),
    resourcetype varchar(56),
    nativeexitcode integer,
    nativestatus varchar(80),
    diagmessage varchar(500),
    computingelement varchar(128),
    njobs integer,
    submissionhost varchar(128),
    harvesterhost varchar(128),
    jdl varchar(250),
    jobtype varchar(52),
    pilotstarttime timestamp,
    pilotendtime timestamp,
    pilotstatus varchar(80),
    pilotstatussynctime timestamp,
    minramcount integer,
    CONSTRAINT harvester_workers_pk PRIMARY KEY (harvesterid, workerid, lastupdate)
);

CREATE TABLE {panda}.harvester_rel_jobs_workers (
    harvesterid varchar(50) NOT NULL,
    workerid bigint NOT NULL,
    pandaid bigint NOT NULL,
    lastupdate timestamp NOT NULL,
    CONSTRAINT harvester_rel_jobs_workers_pk PRIMARY KEY (harvesterid, workerid, pandaid)
);

CREATE TABLE {panda}.harvester_commands (
    command_id bigint NOT NULL,
    command varchar(200),
    harvester_id varchar(50),
    ack_requested smallint,
    creation_date timestamp,
    status varchar(32),
    status_date timestamp,
    params text,
    CONSTRAINT harvester_commands_pk PRIMARY KEY (command_id)
);

CREATE TABLE {panda}.harvester_command_lock (
    harvester_id varchar(50) NOT NULL,
    computingsite varchar(128) NOT NULL,
    resourcetype varchar(56) NOT NULL,
    command varchar(200) NOT NULL,
    lockedtime timestamp,
    lockedby varchar(56),
    CONSTRAINT harvester_command_lock_pk PRIMARY KEY (harvester_id, computingsite, resourcetype, command)
);

CREATE TABLE {panda}.harvester_dialogs (
    harvester_id varchar(50) NOT NULL,
    diagid bigint NOT NULL,
    modulename varchar(100),
    identifier varchar(100),
    creationtime timestamp NOT NULL,
    messagelevel varchar(10),
    diagmessage varchar(500)
);

CREATE TABLE {panda}.harvester_metrics (
    harvester_id varchar(50) NOT NULL,
    creation_time timestamp DEFAULT (now() AT TIME ZONE 'UTC') NOT NULL,
    harvester_host varchar(100),
    metrics varchar(4000)
);

CREATE TABLE {panda}.harvester_slots (
    pandaqueuename varchar(128) NOT NULL,
    gshare varchar(32),
    resourcetype varchar(56),
    numslots bigint NOT NULL,
    modificationtime timestamp NOT NULL,
    expirationtime timestamp,
    CONSTRAINT harvester_slots_uq UNIQUE (pandaqueuename, gshare, resourcetype)
);

CREATE TABLE {panda}.harvester_worker_stats (
    harvester_id varchar(50) NOT NULL,
    computingsite varchar(128) NOT NULL,
    resourcetype varchar(56) NOT NULL,
    status varchar(80) NOT NULL,
    jobtype varchar(52) NOT NULL,
    n_workers integer,
    lastupdate timestamp NOT NULL,
    CONSTRAINT harvester_worker_stats_pk PRIMARY KEY (harvester_id, computingsite, resourcetype, status, jobtype)
);

CREATE TABLE {panda}.worker_node (
    site varchar(128) NOT NULL,
    host_name varchar(128) NOT NULL,
    cpu_model varchar(128) NOT NULL,
    n_logical_cpus integer,
    n_sockets integer,
    cores_per_socket integer,
    threads_per_core integer,
    cpu_architecture varchar(20),
    cpu_architecture_level varchar(20),
    clock_speed numeric(9,2),
    total_memory bigint,
    last_seen timestamp,
    total_local_disk bigint,
    cpu_model_normalized varchar(128),
    CONSTRAINT worker_node_pk PRIMARY KEY (site, host_name, cpu_model)
);

CREATE TABLE {panda}.worker_node_gpus (
    site varchar(128) NOT NULL,
    host_name varchar(128) NOT NULL,
    vendor varchar(128) NOT NULL,
    model varchar(128) NOT NULL,
    count integer,
    vram bigint,
    architecture varchar(128),
    framework varchar(128),
    framework_version varchar(20),
    driver_version varchar(20),
    last_seen timestamp,
    CONSTRAINT worker_node_gpus_pk PRIMARY KEY (site, host_name, vendor, model)
);

CREATE TABLE {panda}.worker_node_queue (
    site varchar(128) NOT NULL,
    host_name varchar(128) NOT NULL,
    panda_queue varchar(128) NOT NULL,
    last_seen timestamp,
    CONSTRAINT worker_node_queue_pk PRIMARY KEY (site, host_name, panda_queue)
);

CREATE TABLE {panda}.jobs_share_stats (
    ts timestamp,
    gshare varchar(32),
    computingsite varchar(128),
    jobstatus varchar(15) NOT NULL,
    maxpriority bigint,
    prorated_diskio_avg decimal(11,2),
    prorated_mem_avg decimal(11,2),
    njobs bigint,
    hs bigint,
    vo varchar(32),
    workqueue_id integer,
    resource_type varchar(56),
    nucleus varchar(52)
);

CREATE TABLE {panda}.jobsdefined_share_stats (
    ts timestamp,
    gshare varchar(32),
    computingsite varchar(128),
    jobstatus varchar(15) NOT NULL,
    maxpriority bigint,
    prorated_diskio_avg decimal(11,2),
    prorated_mem_avg decimal(11,2),
    njobs bigint,
    hs bigint,
    vo varchar(32),
    workqueue_id integer,
    resource_type varchar(56),
    nucleus varchar(52)
);

INSERT INTO {panda}.pandadb_version (component, major, minor, patch) VALUES ('PanDA', 0, 1, 6);
INSERT INTO {panda}.resource_types (resource_name, mincore, maxcore, minrampercore, maxrampercore) VALUES
    ('SCORE', 1, 1, NULL, 2000), ('SCORE_HIMEM', 1, 1, 2001, NULL),
    ('MCORE', 2, NULL, NULL, 2000), ('MCORE_HIMEM', 2, NULL, 2001, NULL);
INSERT INTO {panda}.global_shares (name, value, prodsourcelabel) VALUES
    ('Test', 1, 'test|prod_test|ptest|rc_test|install'), ('User', 49, 'user|panda'), ('Production', 50, 'managed');
INSERT INTO {panda}.jedi_work_queue (queue_id, queue_name, queue_type, vo, status, queue_order, queue_function) VALUES
    (1, 'test', 'test', 'wlcg', 'active', 1, 'Resource'), (2, 'managed', 'managed', 'wlcg', 'active', 2, 'Resource'),
    (3, 'user', 'user', 'wlcg', 'active', 3, 'Resource');
INSERT INTO {panda}.config (app, component, key, value, type, vo, descr) VALUES
    ('pandaserver', 'jobdispatch', 'SLOPPY_DISPATCH_RATIO', '10', 'int', 'wlcg',
     'percent of getJob calls that are served oldest first, and one more');
