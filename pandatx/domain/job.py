"""A job and its files, as records of plain values."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen


@frozen(kw_only=True)
class JobFile:
    """A file of a job: an input, an output or its log. ``status`` as in lifecycle.md 1.5; ``fsize`` in bytes."""

    row_id: int = 0
    panda_id: int = 0
    guid: str | None = None
    lfn: str = ""
    type: str = ""
    dataset: str | None = None
    status: str = "unknown"
    prod_dblock: str | None = None
    prod_dblock_token: str | None = None
    dispatch_dblock: str | None = None
    dispatch_dblock_token: str | None = None
    destination_dblock: str | None = None
    destination_dblock_token: str | None = None
    destination_se: str | None = None
    fsize: int = 0
    md5sum: str | None = None
    checksum: str | None = None
    scope: str | None = None
    jedi_task_id: int | None = None
    dataset_id: int | None = None
    file_id: int | None = None
    attempt_nr: int | None = None


@frozen(kw_only=True)
class Job:
    """A job with every attribute that the job tables hold, in the order of the wire (reference/wire.md 3.4.1).

    Times are aware UTC; memory and disk are MB, wall-clock and CPU limits seconds, I/O totals kB, rates kB/s.
    """

    panda_id: int = 0
    job_definition_id: int = 0
    scheduler_id: str | None = None
    pilot_id: str | None = None
    creation_time: datetime | None = None
    creation_host: str | None = None
    modification_time: datetime | None = None
    modification_host: str | None = None
    atlas_release: str | None = None
    transformation: str | None = None
    homepackage: str | None = None
    prod_series_label: str | None = None
    prod_source_label: str | None = None
    prod_user_id: str | None = None
    assigned_priority: int = 0
    current_priority: int = 0
    attempt_nr: int = 0
    max_attempt: int = 0
    job_status: str = "defined"
    job_name: str | None = None
    max_cpu_count: int = 0
    max_cpu_unit: str | None = None
    max_disk_count: int = 0
    max_disk_unit: str | None = None
    ip_connectivity: str | None = None
    min_ram_count: int = 0
    min_ram_unit: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    cpu_consumption_time: int = 0
    cpu_consumption_unit: str | None = None
    command_to_pilot: str | None = None
    trans_exit_code: str | None = None
    pilot_error_code: int = 0
    pilot_error_diag: str | None = None
    exe_error_code: int = 0
    exe_error_diag: str | None = None
    sup_error_code: int = 0
    sup_error_diag: str | None = None
    ddm_error_code: int = 0
    ddm_error_diag: str | None = None
    brokerage_error_code: int = 0
    brokerage_error_diag: str | None = None
    job_dispatcher_error_code: int = 0
    job_dispatcher_error_diag: str | None = None
    task_buffer_error_code: int = 0
    task_buffer_error_diag: str | None = None
    computing_site: str | None = None
    computing_element: str | None = None
    job_parameters: str | None = None
    metadata: str | None = None
    prod_dblock: str | None = None
    dispatch_dblock: str | None = None
    destination_dblock: str | None = None
    destination_se: str | None = None
    n_events: int = 0
    grid: str | None = None
    cloud: str | None = None
    cpu_conversion: float | None = None
    source_site: str | None = None
    destination_site: str | None = None
    transfer_type: str | None = None
    task_id: int | None = None
    cmt_config: str | None = None
    state_change_time: datetime | None = None
    prod_db_update_time: datetime | None = None
    locked_by: str | None = None
    relocation_flag: int = 0
    job_execution_id: int = 0
    vo: str | None = None
    pilot_timing: str | None = None
    working_group: str | None = None
    processing_type: str | None = None
    prod_user_name: str | None = None
    n_input_files: int | None = None
    country_group: str | None = None
    batch_id: str | None = None
    parent_id: int | None = None
    special_handling: str | None = None
    jobset_id: int | None = None
    core_count: int | None = None
    n_input_data_files: int | None = None
    input_file_type: str | None = None
    input_file_project: str | None = None
    input_file_bytes: int | None = None
    n_output_data_files: int = 0
    output_file_bytes: int = 0
    job_metrics: str | None = None
    work_queue_id: int | None = None
    jedi_task_id: int | None = None
    job_sub_status: str | None = None
    actual_core_count: int | None = None
    req_id: int | None = None
    max_rss: int | None = None
    max_vmem: int | None = None
    max_swap: int | None = None
    max_pss: int | None = None
    avg_rss: int | None = None
    avg_vmem: int | None = None
    avg_swap: int | None = None
    avg_pss: int | None = None
    max_walltime: int | None = None
    nucleus: str | None = None
    event_service: int | None = None
    failed_attempt: int | None = None
    hs06sec: int | None = None
    gshare: str | None = None
    hs06: int | None = None
    tot_rchar: int | None = None
    tot_wchar: int | None = None
    tot_rbytes: int | None = None
    tot_wbytes: int | None = None
    rate_rchar: int | None = None
    rate_wchar: int | None = None
    rate_rbytes: int | None = None
    rate_wbytes: int | None = None
    resource_type: str | None = None
    disk_io: int | None = None
    memory_leak: int | None = None
    memory_leak_x2: float | None = None
    container_name: str | None = None
    job_label: str | None = None
    gco2_regional: float | None = None
    gco2_global: float | None = None
    cpu_architecture_level: str | None = None
    output_file_type: str | None = None
    mean_core_count: float | None = None
    files: tuple[JobFile, ...] = ()
