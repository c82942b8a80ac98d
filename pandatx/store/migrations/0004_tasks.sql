-- JEDI's and DEFT's tables, those of sites and storage, and of asynchronous requests, as reference/lifecycle.md 8.3 has them,
-- for a database of its own. A task's rows are found by its id and by the jobs that its files are in.
CREATE SCHEMA IF NOT EXISTS {deft};

CREATE SEQUENCE {panda}.jedi_datasets_id_seq;
CREATE SEQUENCE {panda}.jedi_dataset_cont_fileid_seq CACHE 100;
CREATE SEQUENCE {panda}.jedi_output_template_id_seq;
CREATE SEQUENCE {panda}.jedi_work_queue_id_seq START 4;
CREATE SEQUENCE {panda}.retryactions_id_seq;
CREATE SEQUENCE {panda}.retryerrors_id_seq;
CREATE SEQUENCE {panda}.workflow_id_seq;
CREATE SEQUENCE {panda}.workflow_step_id_seq;
CREATE SEQUENCE {panda}.workflow_data_id_seq;
CREATE SEQUENCE {deft}.prodsys2_task_id_seq;

CREATE TABLE {deft}.t_task (
    taskid bigint NOT NULL,
    parent_tid bigint,
    status varchar(12),
    total_done_jobs bigint,
    submit_time timestamp (0) NOT NULL,
    start_time timestamp (0),
    timestamp timestamp (0),
    vo varchar(32),
    prodsourcelabel varchar(20),
    taskname varchar(256),
    username varchar(128),
    priority bigint,
    current_priority bigint,
    total_req_jobs bigint,
    chain_tid bigint,
    total_events bigint,
    jedi_task_parameters text,
    total_input_events bigint
);

CREATE TABLE {deft}.prodsys_comm (
    comm_task bigint NOT NULL,
    comm_meta bigint,
    comm_owner varchar(32),
    comm_cmd varchar(256),
    comm_ts bigint,
    comm_comment varchar(128),
    comm_parameters text
);

CREATE TABLE {panda}.jedi_tasks (
    jeditaskid bigint NOT NULL,
    taskname varchar(256),
    status varchar(64) NOT NULL,
    username varchar(128) NOT NULL,
    creationdate timestamp NOT NULL,
    modificationtime timestamp NOT NULL,
    reqid integer,
    oldstatus varchar(64),
    cloud varchar(10),
    site varchar(60),
    starttime timestamp,
    endtime timestamp,
    frozentime timestamp,
    prodsourcelabel varchar(20),
    workinggroup varchar(32),
    vo varchar(32),
    corecount integer,
    tasktype varchar(64),
    processingtype varchar(64),
    taskpriority integer,
    currentpriority integer,
    architecture varchar(256),
    transuses varchar(64),
    transhome varchar(128),
    transpath varchar(128),
    lockedby varchar(56),
    lockedtime timestamp,
    splitrule varchar(200),
    walltime integer,
    walltimeunit varchar(32),
    outdiskcount integer,
    outdiskunit varchar(32),
    workdiskcount integer,
    workdiskunit varchar(32),
    ramcount integer,
    ramunit varchar(32),
    iointensity integer,
    workqueue_id integer,
    progress smallint,
    failurerate smallint,
    errordialog varchar(510),
    countrygroup varchar(20),
    parent_tid bigint,
    statechangetime timestamp,
    superstatus varchar(64),
    campaign varchar(32),
    throttledtime timestamp,
    numthrottled smallint,
    goal smallint,
    cputime integer,
    cputimeunit varchar(32),
    cpuefficiency smallint,
    basewalltime integer,
    nucleus varchar(52),
    baseramcount integer,
    gshare varchar(32),
    resource_type varchar(56),
    diskio integer,
    attemptnr smallint,
    container_name varchar(200),
    job_label varchar(20),
    realmodificationtime timestamp,
    framework varchar(50),
    activatedtime timestamp,
    queuedtime timestamp,
    termcondition varchar(100),
    iointensityunit varchar(32),
    eventservice smallint,
    ticketid varchar(50),
    ticketsystemtype varchar(32),
    mergeramcount integer,
    mergeramunit varchar(32),
    mergewalltime integer,
    mergewalltimeunit varchar(32),
    mergecorecount integer,
    assessmenttime timestamp,
    amiflag_old varchar(10),
    amiflag integer DEFAULT 1,
    ttcrequested timestamp,
    ttcpredicted timestamp,
    ttcpredictiondate timestamp,
    rescuetime timestamp,
    requesttype varchar(32),
    usejumbo char(1),
    diskiounit varchar(32),
    memory_leak_core bigint,
    memory_leak_x2 decimal(14,3),
    actiontime timestamp,
    CONSTRAINT jedi_tasks_pk PRIMARY KEY (jeditaskid)
);

CREATE TABLE {panda}.jedi_taskparams (
    jeditaskid bigint NOT NULL,
    taskparams text,
    CONSTRAINT jedi_taskparams_pk PRIMARY KEY (jeditaskid)
);

CREATE TABLE {panda}.jedi_datasets (
    jeditaskid bigint NOT NULL,
    datasetid bigint NOT NULL,
    datasetname varchar(255) NOT NULL,
    type varchar(20) NOT NULL,
    creationtime timestamp NOT NULL,
    modificationtime timestamp NOT NULL,
    vo varchar(32),
    cloud varchar(10),
    site varchar(60),
    masterid bigint,
    provenanceid bigint,
    containername varchar(255),
    status varchar(20),
    state varchar(20),
    statechecktime timestamp,
    statecheckexpiration timestamp,
    frozentime timestamp,
    nfiles bigint,
    nfilestobeused bigint,
    nfilesused bigint,
    nfilesonhold bigint,
    nevents bigint,
    neventstobeused bigint,
    neventsused bigint,
    lockedby varchar(56),
    lockedtime timestamp,
    nfilesfinished bigint,
    nfilesfailed bigint,
    attributes varchar(100),
    streamname varchar(20),
    storagetoken varchar(100),
    destination varchar(60),
    templateid bigint,
    nfileswaiting bigint,
    nfilesmissing bigint,
    CONSTRAINT jedi_datasets_pk PRIMARY KEY (jeditaskid, datasetid)
);

CREATE TABLE {panda}.jedi_dataset_contents (
    jeditaskid bigint NOT NULL,
    datasetid bigint NOT NULL,
    fileid bigint NOT NULL,
    creationdate timestamp NOT NULL,
    lastattempttime timestamp,
    lfn varchar(4000) NOT NULL,
    guid varchar(64),
    type varchar(20) NOT NULL,
    status varchar(64) NOT NULL,
    fsize bigint,
    checksum varchar(36),
    scope varchar(30),
    attemptnr smallint,
    maxattempt smallint,
    nevents bigint,
    keeptrack smallint,
    startevent bigint,
    endevent bigint,
    firstevent bigint,
    boundaryid bigint,
    pandaid bigint,
    failedattempt smallint,
    lumiblocknr bigint,
    outpandaid bigint,
    maxfailure smallint,
    ramcount bigint DEFAULT 0,
    is_waiting char(1),
    jobsetid bigint,
    proc_status varchar(64),
    constituent_id bigint,
    CONSTRAINT jedi_dataset_contents_pk PRIMARY KEY (jeditaskid, datasetid, fileid)
);

CREATE TABLE {panda}.jedi_output_template (
    jeditaskid bigint NOT NULL,
    datasetid bigint NOT NULL,
    outtempid bigint NOT NULL,
    filenametemplate varchar(256) NOT NULL,
    maxserialnr integer,
    serialnr integer,
    sourcename varchar(256),
    streamname varchar(20),
    outtype varchar(20),
    CONSTRAINT jedi_output_template_pk PRIMARY KEY (jeditaskid, datasetid, outtempid)
);

CREATE TABLE {panda}.jedi_jobparams_template (
    jeditaskid bigint NOT NULL,
    jobparamstemplate text,
    CONSTRAINT jedi_jobparams_template_pk PRIMARY KEY (jeditaskid)
);

CREATE TABLE {panda}.jedi_job_retry_history (
    jeditaskid bigint NOT NULL,
    oldpandaid bigint NOT NULL,
    newpandaid bigint NOT NULL,
    ins_utc_tstamp timestamp DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC') NOT NULL,
    relationtype varchar(32),
    originpandaid bigint
);

CREATE TABLE {panda}.jedi_aux_status_mintaskid (
    status varchar(64) NOT NULL,
    min_jeditaskid bigint NOT NULL,
    CONSTRAINT jedi_aux_status_mintaskid_pk PRIMARY KEY (status)
);

CREATE TABLE {panda}.tasks_statuslog (
    jeditaskid bigint NOT NULL,
    modificationtime timestamp NOT NULL,
    status varchar(64) NOT NULL,
    modificationhost varchar(128),
    attemptnr smallint,
    reason varchar(255)
);

CREATE TABLE {panda}.task_attempts (
    jeditaskid bigint NOT NULL,
    attemptnr integer NOT NULL,
    starttime timestamp NOT NULL,
    endtime timestamp,
    startstatus varchar(32),
    endstatus varchar(32),
    CONSTRAINT task_attempts_pk PRIMARY KEY (jeditaskid, attemptnr, starttime)
);

CREATE TABLE {panda}.task_metrics (
    jeditaskid bigint NOT NULL,
    creationtime timestamp,
    modificationtime timestamp NOT NULL,
    data text,
    CONSTRAINT task_metrics_pk PRIMARY KEY (jeditaskid, modificationtime)
);

CREATE TABLE {panda}.mv_jobsactive4_stats (
    cur_date timestamp,
    cloud varchar(50),
    computingsite varchar(128),
    countrygroup varchar(20),
    workinggroup varchar(20),
    relocationflag smallint,
    jobstatus varchar(15) NOT NULL,
    processingtype varchar(64),
    prodsourcelabel varchar(20),
    currentpriority bigint,
    num_of_jobs bigint,
    vo varchar(32),
    workqueue_id integer,
    num_of_cores bigint,
    resource_type varchar(56)
);

CREATE TABLE {panda}.job_stats_hp (
    ts timestamp,
    prodsourcelabel varchar(20),
    cloud varchar(50),
    resource_type varchar(56),
    gshare varchar(32),
    jobstatus varchar(15),
    workqueue_id integer,
    vo varchar(32),
    max_priority bigint,
    max_priority_count bigint
);

CREATE TABLE {panda}.jedi_events (
    jeditaskid bigint NOT NULL,
    pandaid bigint NOT NULL,
    fileid bigint NOT NULL,
    job_processid bigint NOT NULL,
    datasetid bigint NOT NULL,
    status smallint NOT NULL,
    def_min_eventid bigint,
    def_max_eventid bigint,
    processed_upto_eventid bigint,
    attemptnr smallint,
    objstore_id bigint,
    event_offset bigint,
    is_jumbo smallint,
    ziprow_id bigint,
    file_not_deleted char(1),
    error_code integer,
    path_convention smallint,
    error_diag varchar(500),
    CONSTRAINT jedi_events_pk PRIMARY KEY (jeditaskid, pandaid, fileid, job_processid)
);

CREATE TABLE {panda}.ddm_endpoint (
    ddm_endpoint_name varchar(52) NOT NULL,
    site_name varchar(52),
    ddm_spacetoken_name varchar(52),
    space_total bigint,
    space_free bigint,
    space_used bigint,
    is_tape varchar(1),
    type varchar(20),
    blacklisted char(1),
    space_expired bigint,
    space_timestamp timestamp,
    blacklisted_read char(1),
    blacklisted_write char(1),
    detailed_status jsonb,
    space_min_free bigint,
    space_unavailable bigint,
    CONSTRAINT ddm_endpoint_pk PRIMARY KEY (ddm_endpoint_name)
);

CREATE TABLE {panda}.panda_ddm_relation (
    panda_site_name varchar(52) NOT NULL,
    ddm_endpoint_name varchar(52) NOT NULL,
    is_local char(1),
    roles varchar(60),
    order_read integer,
    order_write integer,
    default_read char(1),
    default_write char(1),
    scope varchar(52) NOT NULL,
    CONSTRAINT panda_ddm_relation_pk PRIMARY KEY (panda_site_name, ddm_endpoint_name, scope)
);

CREATE TABLE {panda}.workflows (
    workflow_id bigint NOT NULL,
    name varchar(256),
    parent_id bigint,
    loop_count bigint,
    status varchar(32),
    prodsourcelabel varchar(32),
    username varchar(128),
    creation_time timestamp,
    start_time timestamp,
    end_time timestamp,
    modification_time timestamp,
    check_time timestamp,
    locked_by varchar(64),
    lock_time timestamp,
    raw_request_json jsonb,
    definition_json jsonb,
    parameters jsonb,
    CONSTRAINT workflows_pk PRIMARY KEY (workflow_id)
);

CREATE TABLE {panda}.workflow_steps (
    step_id bigint NOT NULL,
    name varchar(256),
    workflow_id bigint NOT NULL,
    member_id bigint NOT NULL,
    type varchar(32),
    status varchar(32),
    flavor varchar(32),
    target_id varchar(128),
    creation_time timestamp,
    start_time timestamp,
    end_time timestamp,
    modification_time timestamp,
    check_time timestamp,
    locked_by varchar(64),
    lock_time timestamp,
    definition_json jsonb,
    parameters jsonb,
    CONSTRAINT workflow_steps_pk PRIMARY KEY (step_id)
);

CREATE TABLE {panda}.workflow_data (
    data_id bigint NOT NULL,
    name varchar(256),
    workflow_id bigint NOT NULL,
    source_step_id bigint,
    type varchar(32),
    status varchar(32),
    flavor varchar(32),
    target_id varchar(256),
    creation_time timestamp,
    start_time timestamp,
    end_time timestamp,
    modification_time timestamp,
    check_time timestamp,
    locked_by varchar(64),
    lock_time timestamp,
    metadata jsonb,
    parameters jsonb,
    CONSTRAINT workflow_data_pk PRIMARY KEY (data_id)
);

CREATE TABLE {panda}.async_requests (
    request_id varchar(64) NOT NULL,
    request_type varchar(64) NOT NULL,
    service_name varchar(64),
    machine_name varchar(128),
    parameters text,
    expected_machines text,
    created_at timestamp,
    CONSTRAINT async_requests_pk PRIMARY KEY (request_id)
);

CREATE TABLE {panda}.async_results (
    request_id varchar(64) NOT NULL,
    machine_name varchar(128) NOT NULL,
    status varchar(16) DEFAULT 'running',
    result text,
    stderr text,
    return_code smallint,
    truncated smallint DEFAULT 0,
    error_msg varchar(2048),
    attempts smallint DEFAULT 0,
    started_at timestamp,
    finished_at timestamp,
    CONSTRAINT async_results_pk PRIMARY KEY (request_id, machine_name)
);

CREATE TABLE {panda}.machine_heartbeat (
    machine_name varchar(128) NOT NULL,
    service_name varchar(64) NOT NULL,
    last_seen timestamp,
    CONSTRAINT machine_heartbeat_pk PRIMARY KEY (machine_name)
);

CREATE TABLE {panda}.network_matrix_kv (
    src varchar(256) NOT NULL,
    dst varchar(256) NOT NULL,
    key varchar(256) NOT NULL,
    value bigint,
    ts timestamp,
    CONSTRAINT network_matrix_kv_pk PRIMARY KEY (src, dst, key)
);

CREATE TABLE {panda}.sw_tags (
    panda_queue varchar(50),
    data text,
    last_update timestamp
);

CREATE TABLE {panda}.carbon_region_emissions (
    region varchar(32) NOT NULL,
    timestamp timestamp NOT NULL,
    value bigint,
    CONSTRAINT carbon_region_emissions_pk PRIMARY KEY (region, timestamp)
);

CREATE TABLE {panda}.task_evaluation (
    jeditaskid bigint NOT NULL,
    metric varchar(128) NOT NULL,
    value_json text,
    timestamp timestamp,
    CONSTRAINT task_evaluation_pk PRIMARY KEY (jeditaskid, metric)
);

ALTER TABLE {panda}.async_results ADD FOREIGN KEY (request_id) REFERENCES {panda}.async_requests (request_id);

CREATE UNIQUE INDEX t_task_pk_part ON {deft}.t_task (taskid);
CREATE INDEX t_task_status_prodlabel_idx ON {deft}.t_task (status, prodsourcelabel);
CREATE INDEX t_task_taskname_idx ON {deft}.t_task (taskname);
CREATE INDEX t_task_username_idx ON {deft}.t_task (username);
CREATE INDEX prodsys_comm_task_idx ON {deft}.prodsys_comm (comm_task);
CREATE INDEX jedi_tasks_status3attr_idx ON {panda}.jedi_tasks (status, workqueue_id, prodsourcelabel, jeditaskid);
CREATE INDEX jedi_tasks_nametaskid_idx ON {panda}.jedi_tasks (taskname, jeditaskid);
CREATE INDEX jedi_tasks_reqid_idx ON {panda}.jedi_tasks (reqid, username);
CREATE INDEX jedi_tasks_creation_idx ON {panda}.jedi_tasks (creationdate);
CREATE INDEX jedi_tasks_modiftime_idx ON {panda}.jedi_tasks (modificationtime);
CREATE INDEX jedi_tasks_parent_tid_idx ON {panda}.jedi_tasks (parent_tid);
CREATE INDEX jedi_datasets_dsetid_idx ON {panda}.jedi_datasets (datasetid);
CREATE INDEX jedi_dataset_dnametypetid_idx ON {panda}.jedi_datasets (datasetname, type, jeditaskid);
CREATE INDEX jedi_dataset_containername_idx ON {panda}.jedi_datasets (containername);
CREATE INDEX jedi_dataset_contents_pid_idx ON {panda}.jedi_dataset_contents (pandaid);
CREATE INDEX jedi_datasetcontent_lfn_idx ON {panda}.jedi_dataset_contents (lfn);
CREATE INDEX jedi_job_retry_history_uq ON {panda}.jedi_job_retry_history (jeditaskid, newpandaid, oldpandaid, originpandaid);
CREATE INDEX jedi_job_retry_hist_oldpid_idx ON {panda}.jedi_job_retry_history (oldpandaid);
CREATE INDEX task_statuslog_jeditaskid_idx ON {panda}.tasks_statuslog (jeditaskid);
CREATE INDEX jedi_events_pandaid_status_idx ON {panda}.jedi_events (pandaid, status);
CREATE INDEX ddm_endpoint_site_name_idx ON {panda}.ddm_endpoint (site_name);
CREATE INDEX pan_ddm_rel_endpoint_rel_idx ON {panda}.panda_ddm_relation (ddm_endpoint_name);
CREATE INDEX async_req_target_idx ON {panda}.async_requests (service_name, machine_name);
CREATE INDEX sql_queue_topic_idx ON {panda}.sql_queue (topic, pandaid);
CREATE INDEX jobsactive4_task_idx ON {panda}.jobsactive4 (jeditaskid, jobstatus) WHERE jeditaskid IS NOT NULL;
CREATE INDEX jobsdefined4_task_idx ON {panda}.jobsdefined4 (jeditaskid, jobstatus) WHERE jeditaskid IS NOT NULL;
CREATE INDEX jobsarchived4_task_idx ON {panda}.jobsarchived4 (jeditaskid) WHERE jeditaskid IS NOT NULL;

CREATE FUNCTION {panda}.jedi_tasks_touched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.realmodificationtime := now() AT TIME ZONE 'UTC';
    RETURN NEW;
END $$;
CREATE TRIGGER jedi_tasks_inserted BEFORE INSERT ON {panda}.jedi_tasks
    FOR EACH ROW EXECUTE FUNCTION {panda}.jedi_tasks_touched();
CREATE TRIGGER jedi_tasks_updated BEFORE UPDATE ON {panda}.jedi_tasks
    FOR EACH ROW WHEN (OLD.modificationtime IS DISTINCT FROM NEW.modificationtime)
    EXECUTE FUNCTION {panda}.jedi_tasks_touched();

ALTER TABLE {panda}.jedi_dataset_contents SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE {panda}.jedi_datasets SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE {panda}.sql_queue SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
