"""What callers ask, one class per request: its fields are the wire's of the REST dialect, with the wire's defaults.

``wire(...)`` gives a field the name it has in the older dialect and other spellings that clients in the field use.
A dialect converts the values to the annotated types; a service never knows which dialect it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import NOTHING, field, frozen


def wire(
    default: Any = NOTHING,
    *,
    legacy: str | None = None,
    aliases: tuple[str, ...] = (),
    validator: Callable[..., Any] | None = None,
) -> Any:
    """A field of a request; ``legacy`` is its name in the older dialect, None where it is the same."""
    return field(default=default, validator=validator, metadata={"legacy": legacy, "aliases": aliases})


@frozen(kw_only=True)
class JobRequest:
    """A pilot asks for jobs (reference/wire.md 2.1, lifecycle.md 6.1). Memory and disk in MB, times in seconds."""

    site_name: str = wire(legacy="siteName")
    timeout: int = wire(60)
    memory: int = wire(0, legacy="mem")
    disk_space: int = wire(0, legacy="diskSpace")
    prod_source_label: str | None = wire(None, legacy="prodSourceLabel")
    node: str | None = wire(None)
    computing_element: str | None = wire(None, legacy="computingElement")
    prod_user_id: str | None = wire(None, legacy="prodUserID")
    get_proxy_key: str | None = wire(None, legacy="getProxyKey")
    task_id: int | None = wire(None, legacy="taskID")
    n_jobs: int | None = wire(1, legacy="nJobs")
    background: bool | None = wire(None)
    resource_type: str | None = wire(None, legacy="resourceType", aliases=("resourceType",))
    harvester_id: str | None = wire(None)
    worker_id: int | None = wire(None)
    scheduler_id: str | None = wire(None, legacy="schedulerID")
    job_type: str | None = wire(None, legacy="jobType")
    via_topic: bool | None = wire(None, legacy="viaTopic")
    remaining_time: int = wire(0)


@frozen(kw_only=True)
class Heartbeat:
    """A pilot or Harvester reports on a job (reference/wire.md 2.3, 4.3).

    Units are those of the tables after decoding: memory kB, I/O totals kB, rates kB/s (rule R21), times aware UTC.
    Only ``job_id``, ``job_status`` and ``attempt_nr`` can make a report refused; any other bad field is left out.
    """

    job_id: int = wire(legacy="jobId")
    job_status: str = wire(legacy="state")
    attempt_nr: int | None = wire(None, legacy="attemptNr")
    job_output_report: str = wire("", legacy="xml")
    meta_data: str = wire("", legacy="metaData")
    stdout: str = wire("")
    pilot_log: str = wire("", legacy="pilotLog")
    node: str | None = wire(None)
    site_name: str | None = wire(None, legacy="siteName")
    scheduler_id: str | None = wire(None, legacy="schedulerID")
    pilot_id: str | None = wire(None, legacy="pilotID")
    batch_id: str | None = wire(None, legacy="batchID")
    start_time: datetime | None = wire(None, legacy="startTime")
    end_time: datetime | None = wire(None, legacy="endTime")
    job_sub_status: str | None = wire(None, legacy="jobSubStatus")
    cpu_consumption_time: int | None = wire(None, legacy="cpuConsumptionTime")
    cpu_consumption_unit: str | None = wire(None, legacy="cpuConsumptionUnit")
    cpu_conversion_factor: float | None = wire(None, legacy="cpuConversionFactor")
    cpu_architecture_level: str | None = wire(None)
    core_count: int | None = wire(None, legacy="coreCount")
    mean_core_count: float | None = wire(None, legacy="meanCoreCount")
    n_events: int | None = wire(None, legacy="nEvents")
    n_input_files: int | None = wire(None, legacy="nInputFiles")
    trans_exit_code: int | None = wire(None, legacy="transExitCode")
    pilot_error_code: int | None = wire(None, legacy="pilotErrorCode")
    pilot_error_diag: str | None = wire(None, legacy="pilotErrorDiag")
    exe_error_code: int | None = wire(None, legacy="exeErrorCode")
    exe_error_diag: str | None = wire(None, legacy="exeErrorDiag")
    pilot_timing: str | None = wire(None, legacy="pilotTiming")
    job_metrics: str | None = wire(None, legacy="jobMetrics")
    max_rss: int | None = wire(None, legacy="maxRSS")
    max_vmem: int | None = wire(None, legacy="maxVMEM")
    max_swap: int | None = wire(None, legacy="maxSWAP")
    max_pss: int | None = wire(None, legacy="maxPSS")
    avg_rss: int | None = wire(None, legacy="avgRSS")
    avg_vmem: int | None = wire(None, legacy="avgVMEM")
    avg_swap: int | None = wire(None, legacy="avgSWAP")
    avg_pss: int | None = wire(None, legacy="avgPSS")
    tot_rchar: int | None = wire(None, legacy="totRCHAR")
    tot_wchar: int | None = wire(None, legacy="totWCHAR")
    tot_rbytes: int | None = wire(None, legacy="totRBYTES")
    tot_wbytes: int | None = wire(None, legacy="totWBYTES")
    rate_rchar: int | None = wire(None, legacy="rateRCHAR")
    rate_wchar: int | None = wire(None, legacy="rateWCHAR")
    rate_rbytes: int | None = wire(None, legacy="rateRBYTES")
    rate_wbytes: int | None = wire(None, legacy="rateWBYTES")
    corrupted_files: str | None = wire(None, legacy="corruptedFiles")
    grid: str | None = wire(None)
    source_site: str | None = wire(None)
    destination_site: str | None = wire(None)
    timeout: int = wire(60)

    @property
    def final(self) -> bool:
        """Says how the job ended; it becomes ``holding`` until the Adder has worked on it."""
        return self.job_status in ("finished", "failed")


@frozen(kw_only=True)
class Reply:
    """What a report is answered with: ``command`` is "" when there is none; ``code`` is the wire's StatusCode."""

    command: str = ""
    code: int = 0
    pilot_secrets: str | None = None
