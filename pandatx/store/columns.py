"""Where the attributes of a job and of its files live: the column of each, and its type.

The only place that knows the columns' spelling. The four job tables hold the same columns; a row is always copied by
column name, since their order differs in databases that pandatx did not make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from attrs import fields

from pandatx.domain.job import Job, JobFile

JOB: Final[dict[str, tuple[str, str]]] = {
    "panda_id": ("pandaid", "bigint"),
    "job_definition_id": ("jobdefinitionid", "bigint"),
    "scheduler_id": ("schedulerid", "varchar(128)"),
    "pilot_id": ("pilotid", "varchar(200)"),
    "creation_time": ("creationtime", "timestamp"),
    "creation_host": ("creationhost", "varchar(128)"),
    "modification_time": ("modificationtime", "timestamp"),
    "modification_host": ("modificationhost", "varchar(128)"),
    "atlas_release": ("atlasrelease", "varchar(64)"),
    "transformation": ("transformation", "varchar(250)"),
    "homepackage": ("homepackage", "varchar(80)"),
    "prod_series_label": ("prodserieslabel", "varchar(20)"),
    "prod_source_label": ("prodsourcelabel", "varchar(20)"),
    "prod_user_id": ("produserid", "varchar(250)"),
    "assigned_priority": ("assignedpriority", "integer"),
    "current_priority": ("currentpriority", "integer"),
    "attempt_nr": ("attemptnr", "smallint"),
    "max_attempt": ("maxattempt", "smallint"),
    "job_status": ("jobstatus", "varchar(15)"),
    "job_name": ("jobname", "varchar(256)"),
    "max_cpu_count": ("maxcpucount", "bigint"),
    "max_cpu_unit": ("maxcpuunit", "varchar(32)"),
    "max_disk_count": ("maxdiskcount", "bigint"),
    "max_disk_unit": ("maxdiskunit", "char(4)"),
    "ip_connectivity": ("ipconnectivity", "char(5)"),
    "min_ram_count": ("minramcount", "bigint"),
    "min_ram_unit": ("minramunit", "char(2)"),
    "start_time": ("starttime", "timestamp"),
    "end_time": ("endtime", "timestamp"),
    "cpu_consumption_time": ("cpuconsumptiontime", "numeric(20)"),
    "cpu_consumption_unit": ("cpuconsumptionunit", "varchar(128)"),
    "command_to_pilot": ("commandtopilot", "varchar(250)"),
    "trans_exit_code": ("transexitcode", "varchar(128)"),
    "pilot_error_code": ("piloterrorcode", "integer"),
    "pilot_error_diag": ("piloterrordiag", "varchar(500)"),
    "exe_error_code": ("exeerrorcode", "integer"),
    "exe_error_diag": ("exeerrordiag", "varchar(500)"),
    "sup_error_code": ("superrorcode", "integer"),
    "sup_error_diag": ("superrordiag", "varchar(250)"),
    "ddm_error_code": ("ddmerrorcode", "integer"),
    "ddm_error_diag": ("ddmerrordiag", "varchar(700)"),
    "brokerage_error_code": ("brokerageerrorcode", "integer"),
    "brokerage_error_diag": ("brokerageerrordiag", "varchar(250)"),
    "job_dispatcher_error_code": ("jobdispatchererrorcode", "integer"),
    "job_dispatcher_error_diag": ("jobdispatchererrordiag", "varchar(250)"),
    "task_buffer_error_code": ("taskbuffererrorcode", "integer"),
    "task_buffer_error_diag": ("taskbuffererrordiag", "varchar(300)"),
    "computing_site": ("computingsite", "varchar(128)"),
    "computing_element": ("computingelement", "varchar(128)"),
    "job_parameters": ("jobparameters", "text"),
    "metadata": ("metadata", "text"),
    "prod_dblock": ("proddblock", "varchar(255)"),
    "dispatch_dblock": ("dispatchdblock", "varchar(255)"),
    "destination_dblock": ("destinationdblock", "varchar(255)"),
    "destination_se": ("destinationse", "varchar(250)"),
    "n_events": ("nevents", "bigint"),
    "grid": ("grid", "varchar(50)"),
    "cloud": ("cloud", "varchar(50)"),
    "cpu_conversion": ("cpuconversion", "decimal(9,4)"),
    "source_site": ("sourcesite", "varchar(36)"),
    "destination_site": ("destinationsite", "varchar(36)"),
    "transfer_type": ("transfertype", "varchar(10)"),
    "task_id": ("taskid", "integer"),
    "cmt_config": ("cmtconfig", "varchar(250)"),
    "state_change_time": ("statechangetime", "timestamp"),
    "prod_db_update_time": ("proddbupdatetime", "timestamp"),
    "locked_by": ("lockedby", "varchar(128)"),
    "relocation_flag": ("relocationflag", "smallint"),
    "job_execution_id": ("jobexecutionid", "bigint"),
    "vo": ("vo", "varchar(32)"),
    "pilot_timing": ("pilottiming", "varchar(100)"),
    "working_group": ("workinggroup", "varchar(20)"),
    "processing_type": ("processingtype", "varchar(64)"),
    "prod_user_name": ("produsername", "varchar(60)"),
    "n_input_files": ("ninputfiles", "integer"),
    "country_group": ("countrygroup", "varchar(20)"),
    "batch_id": ("batchid", "varchar(80)"),
    "parent_id": ("parentid", "bigint"),
    "special_handling": ("specialhandling", "varchar(80)"),
    "jobset_id": ("jobsetid", "bigint"),
    "core_count": ("corecount", "smallint"),
    "n_input_data_files": ("ninputdatafiles", "integer"),
    "input_file_type": ("inputfiletype", "varchar(32)"),
    "input_file_project": ("inputfileproject", "varchar(64)"),
    "input_file_bytes": ("inputfilebytes", "bigint"),
    "n_output_data_files": ("noutputdatafiles", "integer"),
    "output_file_bytes": ("outputfilebytes", "bigint"),
    "job_metrics": ("jobmetrics", "varchar(500)"),
    "work_queue_id": ("workqueue_id", "integer"),
    "jedi_task_id": ("jeditaskid", "bigint"),
    "job_sub_status": ("jobsubstatus", "varchar(80)"),
    "actual_core_count": ("actualcorecount", "integer"),
    "req_id": ("reqid", "integer"),
    "max_rss": ("maxrss", "bigint"),
    "max_vmem": ("maxvmem", "bigint"),
    "max_swap": ("maxswap", "bigint"),
    "max_pss": ("maxpss", "bigint"),
    "avg_rss": ("avgrss", "bigint"),
    "avg_vmem": ("avgvmem", "bigint"),
    "avg_swap": ("avgswap", "bigint"),
    "avg_pss": ("avgpss", "bigint"),
    "max_walltime": ("maxwalltime", "bigint"),
    "nucleus": ("nucleus", "varchar(52)"),
    "event_service": ("eventservice", "smallint"),
    "failed_attempt": ("failedattempt", "smallint"),
    "hs06sec": ("hs06sec", "bigint"),
    "gshare": ("gshare", "varchar(32)"),
    "hs06": ("hs06", "bigint"),
    "tot_rchar": ("totrchar", "bigint"),
    "tot_wchar": ("totwchar", "bigint"),
    "tot_rbytes": ("totrbytes", "bigint"),
    "tot_wbytes": ("totwbytes", "bigint"),
    "rate_rchar": ("raterchar", "bigint"),
    "rate_wchar": ("ratewchar", "bigint"),
    "rate_rbytes": ("raterbytes", "bigint"),
    "rate_wbytes": ("ratewbytes", "bigint"),
    "resource_type": ("resource_type", "varchar(56)"),
    "disk_io": ("diskio", "integer"),
    "memory_leak": ("memory_leak", "bigint"),
    "memory_leak_x2": ("memory_leak_x2", "decimal(14,3)"),
    "container_name": ("container_name", "varchar(200)"),
    "job_label": ("job_label", "varchar(20)"),
    "gco2_regional": ("gco2_regional", "decimal(10,2)"),
    "gco2_global": ("gco2_global", "decimal(10,2)"),
    "cpu_architecture_level": ("cpu_architecture_level", "varchar(20)"),
    "output_file_type": ("outputfiletype", "varchar(32)"),
    "mean_core_count": ("meancorecount", "decimal(8,2)"),
}
"""attribute: (column, type) of jobsdefined4, jobsactive4, jobsarchived4 and jobsarchived."""

FILE: Final[dict[str, tuple[str, str]]] = {
    "row_id": ("row_id", "bigint"),
    "panda_id": ("pandaid", "bigint"),
    "guid": ("guid", "varchar(64)"),
    "lfn": ("lfn", "varchar(4000)"),
    "type": ("type", "varchar(20)"),
    "dataset": ("dataset", "varchar(255)"),
    "status": ("status", "varchar(64)"),
    "prod_dblock": ("proddblock", "varchar(255)"),
    "prod_dblock_token": ("proddblocktoken", "varchar(250)"),
    "dispatch_dblock": ("dispatchdblock", "varchar(255)"),
    "dispatch_dblock_token": ("dispatchdblocktoken", "varchar(250)"),
    "destination_dblock": ("destinationdblock", "varchar(255)"),
    "destination_dblock_token": ("destinationdblocktoken", "varchar(250)"),
    "destination_se": ("destinationse", "varchar(250)"),
    "fsize": ("fsize", "bigint"),
    "md5sum": ("md5sum", "varchar(36)"),
    "checksum": ("checksum", "varchar(36)"),
    "scope": ("scope", "varchar(30)"),
    "jedi_task_id": ("jeditaskid", "bigint"),
    "dataset_id": ("datasetid", "bigint"),
    "file_id": ("fileid", "bigint"),
    "attempt_nr": ("attemptnr", "smallint"),
}
"""attribute: (column, type) of filestable4, less its modificationtime."""

SEPARATE: Final = frozenset(("job_parameters", "metadata"))
"""Attributes with a column that stays NULL: their text has a table of its own."""

JOB_ATTRIBUTE: Final = {column: attribute for attribute, (column, _) in JOB.items()}
FILE_ATTRIBUTE: Final = {column: attribute for attribute, (column, _) in FILE.items()}

_ZERO: Final = frozenset(
    attribute.name for attribute in fields(Job) if attribute.default == 0 and attribute.name != "panda_id"
)


def names(table: Mapping[str, tuple[str, str]], prefix: str = "") -> str:
    """The columns of a table, comma separated."""
    return ", ".join(f"{prefix}{column}" for column, _ in table.values())


def typed(table: Mapping[str, tuple[str, str]]) -> str:
    """The columns with their types, as json_to_recordset wants them."""
    return ", ".join(f"{column} {kind}" for column, kind in table.values())


def renamed(table: Mapping[str, tuple[str, str]], **instead: str) -> str:
    """The columns to select from a row of the same columns, some of them replaced by an expression."""
    return ", ".join(instead.get(column, column) for column, _ in table.values())


_JOB_ROW: Final = tuple(
    (attribute, column, attribute in _ZERO) for attribute, (column, _) in JOB.items() if attribute not in SEPARATE
)
_FILE_ROW: Final = tuple((attribute, column) for attribute, (column, _) in FILE.items())


def job_row(job: Job) -> dict[str, Any]:
    """A job as a JSON row: unset values left out, the zeros of reference/lifecycle.md 8.3 put in."""
    row = {}
    for attribute, column, zero in _JOB_ROW:
        value = getattr(job, attribute)
        if value is not None:
            row[column] = value
        elif zero:
            row[column] = 0
    return row


def file_row(file: JobFile) -> dict[str, Any]:
    """A file as a JSON row."""
    row = {}
    for attribute, column in _FILE_ROW:
        value = getattr(file, attribute)
        if value is not None:
            row[column] = value
    return row


def json_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as the JSON text that json_to_recordset reads."""
    return orjson.dumps(list(rows), default=_plain, option=orjson.OPT_NAIVE_UTC).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no column form")


def jobs(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[Job]:
    """Jobs from rows of the job tables, without their files; columns that are no attribute are passed over."""
    wanted = [(place, JOB_ATTRIBUTE[column]) for place, column in enumerate(columns) if column in JOB_ATTRIBUTE]
    for row in rows:
        values = {attribute: row[place] for place, attribute in wanted}
        for attribute in _ZERO & values.keys():
            values[attribute] = values[attribute] or 0
        yield Job(**values)


def files(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[JobFile]:
    """Files from rows of the files table."""
    wanted = [(place, FILE_ATTRIBUTE[column]) for place, column in enumerate(columns) if column in FILE_ATTRIBUTE]
    for row in rows:
        yield JobFile(**{attribute: row[place] for place, attribute in wanted})
