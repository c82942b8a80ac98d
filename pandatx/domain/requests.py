"""What callers ask, one class per request: its fields are the wire's of the REST dialect, with the wire's defaults.

``wire(...)`` gives a field the name it has in the older dialect, other spellings that clients in the field use, and
how its value is cut to what the tables hold. A dialect converts the values to the annotated types; a service never
knows which dialect it serves.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from attrs import NOTHING, Factory, field, frozen

SMALL, INTEGER, BIG = 2**15 - 1, 2**31 - 1, 2**63 - 1


@frozen(kw_only=True)
class Wire:
    """How a field travels.

    ``cut``: a text is cut to so many characters. ``bound``: a number further from zero is a bad one. ``least``: a
    smaller number becomes this. ``kilo``: bytes come, kB are kept. ``unsigned``: a legacy text loses its minus sign.
    ``exact``: an id, of which no fraction is cut off. ``document``: a JSON object is taken for its text.
    ``forgiving``: a bad value is the default and no fault. ``null_as``: what the text NULL stands for.
    ``most``: so many elements at most. ``legacy_default``: where it is not the default of the REST dialect.
    """

    legacy: str | None = None
    aliases: tuple[str, ...] = ()
    cut: int | None = None
    bound: float | None = None
    least: int | None = None
    kilo: bool = False
    unsigned: bool = False
    exact: bool = False
    document: bool = False
    forgiving: bool = False
    null_as: Any = Factory(lambda: NOTHING)  # a bare NOTHING would mean "no default"
    most: int | None = None
    legacy_default: Any = Factory(lambda: NOTHING)


def wire(default: Any = NOTHING, *, secret: bool = False, **how: Any) -> Any:
    """A field of a request; ``legacy`` is its name in the older dialect, None where it is the same. Others: Wire.

    A ``secret`` one is not in the request's repr.
    """
    return field(default=default, repr=not secret, metadata={"wire": Wire(**how)})


@frozen(kw_only=True)
class NoArguments:
    """A call that takes nothing."""


@frozen(kw_only=True)
class JobRequest:
    """A pilot asks for jobs (reference/wire.md 2.1, lifecycle.md 6.1). Memory and disk in MB, times in seconds.

    ``n_jobs`` is None where the older dialect did not name it: one job, and the answer is flat. A pilot asks for
    another job of the task of its last one, in the words that it was told: of a job without a task, NULL. Names are
    cut, since they are remembered, to more than what the tables hold.
    """

    ignored: ClassVar = frozenset(("cpu", "workingGroup", "allowOtherCountry", "countryGroup", "token", "AtlasRelease"))

    site_name: str = wire(legacy="siteName", cut=129)
    timeout: int = wire(60)
    memory: int = wire(0, legacy="mem", least=0, bound=INTEGER, forgiving=True)
    disk_space: int = wire(0, legacy="diskSpace", least=0, bound=BIG, forgiving=True)
    prod_source_label: str | None = wire(None, legacy="prodSourceLabel", cut=64)
    node: str | None = wire(None, cut=128)
    computing_element: str | None = wire(None, legacy="computingElement", cut=128)
    prod_user_id: str | None = wire(None, legacy="prodUserID", cut=1000)
    get_proxy_key: str | None = wire(None, legacy="getProxyKey")
    task_id: int | None = wire(None, legacy="taskID", bound=BIG, null_as=None)
    n_jobs: int | None = wire(1, legacy="nJobs", bound=SMALL, legacy_default=None)
    background: bool | None = wire(None)
    resource_type: str | None = wire(None, legacy="resourceType", aliases=("resourceType",), cut=64)
    harvester_id: str | None = wire(None)
    worker_id: int | None = wire(None)
    scheduler_id: str | None = wire(None, legacy="schedulerID", cut=128)
    job_type: str | None = wire(None, legacy="jobType")
    via_topic: bool | None = wire(None, legacy="viaTopic")
    remaining_time: int = wire(0, least=0, bound=BIG, forgiving=True)


@frozen(kw_only=True)
class Heartbeat:
    """A pilot or Harvester reports on a job (reference/wire.md 2.3, 4.3).

    Units are those of the tables after decoding: memory kB, I/O totals kB, rates kB/s (rule R21), times aware UTC.
    Only the fields of ``decisive`` can make a report refused; any other bad field is left out. A ``job_id`` of 0 is
    the text NULL of the wire: a report on no job.
    """

    decisive: ClassVar = frozenset(("job_id", "job_status", "attempt_nr"))
    ignored: ClassVar = frozenset(
        ("timestamp", "token", "workdir", "remainingSpace", "messageLevel", "computingElement", "computing_element")
    )

    job_id: int = wire(legacy="jobId", exact=True, null_as=0)
    job_status: str = wire(legacy="state")
    attempt_nr: int | None = wire(None, legacy="attemptNr", exact=True, bound=SMALL)
    job_output_report: str = wire("", legacy="xml", document=True)
    meta_data: str = wire("", legacy="metaData", document=True)
    stdout: str = wire("", cut=2048)
    pilot_log: str = wire("", legacy="pilotLog", cut=4000)
    node: str | None = wire(None, cut=128)
    site_name: str | None = wire(None, legacy="siteName")
    scheduler_id: str | None = wire(None, legacy="schedulerID", cut=128)
    pilot_id: str | None = wire(None, legacy="pilotID", cut=200)
    batch_id: str | None = wire(None, legacy="batchID", cut=80)
    start_time: datetime | None = wire(None, legacy="startTime")
    end_time: datetime | None = wire(None, legacy="endTime")
    job_sub_status: str | None = wire(None, legacy="jobSubStatus", cut=80)
    cpu_consumption_time: int | None = wire(None, legacy="cpuConsumptionTime")
    cpu_consumption_unit: str | None = wire(None, legacy="cpuConsumptionUnit", cut=128)
    cpu_conversion_factor: float | None = wire(None, legacy="cpuConversionFactor", bound=99999.0)
    cpu_architecture_level: str | None = wire(None, cut=20)
    core_count: int | None = wire(None, legacy="coreCount", bound=INTEGER)
    mean_core_count: float | None = wire(None, legacy="meanCoreCount", bound=999999.0)
    n_events: int | None = wire(None, legacy="nEvents")
    n_input_files: int | None = wire(None, legacy="nInputFiles", bound=INTEGER)
    trans_exit_code: int | None = wire(None, legacy="transExitCode", bound=BIG)
    pilot_error_code: int | None = wire(None, legacy="pilotErrorCode", bound=INTEGER, unsigned=True)
    pilot_error_diag: str | None = wire(None, legacy="pilotErrorDiag", cut=500)
    exe_error_code: int | None = wire(None, legacy="exeErrorCode", bound=INTEGER)
    exe_error_diag: str | None = wire(None, legacy="exeErrorDiag", cut=500)
    pilot_timing: str | None = wire(None, legacy="pilotTiming", cut=100)
    job_metrics: str | None = wire(None, legacy="jobMetrics", cut=500)
    max_rss: int | None = wire(None, legacy="maxRSS")
    max_vmem: int | None = wire(None, legacy="maxVMEM")
    max_swap: int | None = wire(None, legacy="maxSWAP")
    max_pss: int | None = wire(None, legacy="maxPSS")
    avg_rss: int | None = wire(None, legacy="avgRSS")
    avg_vmem: int | None = wire(None, legacy="avgVMEM")
    avg_swap: int | None = wire(None, legacy="avgSWAP")
    avg_pss: int | None = wire(None, legacy="avgPSS")
    tot_rchar: int | None = wire(None, legacy="totRCHAR", kilo=True)
    tot_wchar: int | None = wire(None, legacy="totWCHAR", kilo=True)
    tot_rbytes: int | None = wire(None, legacy="totRBYTES", kilo=True)
    tot_wbytes: int | None = wire(None, legacy="totWBYTES", kilo=True)
    rate_rchar: int | None = wire(None, legacy="rateRCHAR", kilo=True)
    rate_wchar: int | None = wire(None, legacy="rateWCHAR", kilo=True)
    rate_rbytes: int | None = wire(None, legacy="rateRBYTES", kilo=True)
    rate_wbytes: int | None = wire(None, legacy="rateWBYTES", kilo=True)
    corrupted_files: str | None = wire(None, legacy="corruptedFiles")
    grid: str | None = wire(None, cut=50)
    source_site: str | None = wire(None, cut=36)
    destination_site: str | None = wire(None, cut=36)
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
    pilot_secrets: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class HeartbeatBatch:
    """Harvester reports on many jobs at once; each element is a Heartbeat in the wire's spelling."""

    job_list: tuple[Any, ...] = wire(legacy="jobList", most=5000)
    harvester_id: str | None = wire(None)


@frozen(kw_only=True)
class JobIds:
    """Some jobs, in the order in which the answer names them."""

    job_ids: tuple[int, ...] = wire(legacy="ids", most=5500)
    timeout: int = wire(60, forgiving=True)


@frozen(kw_only=True)
class JobKill:
    """End jobs (reference/lifecycle.md 1.6)."""

    job_ids: tuple[int, ...] = wire(legacy="ids", most=5500)
    code: int | None = wire(None)
    use_email_as_id: bool = wire(False, legacy="useMailAsID")
    kill_options: tuple[str, ...] = wire((), legacy="killOpts", most=100)


@frozen(kw_only=True)
class JobCommand:
    """A text for the pilot of a job."""

    job_id: int = wire(legacy="panda_id", exact=True)
    command: str = wire(legacy="com")


@frozen(kw_only=True)
class JobSubmission:
    """Jobs as JSON text or as a list; each is a state list (reference/wire.md 3.4.1) or an object by field name."""

    jobs: Any = wire()


@frozen(kw_only=True)
class JobId:
    """Which job."""

    job_id: int = wire(exact=True, bound=BIG)


@frozen(kw_only=True)
class JobSearch:
    """Which jobs to list."""

    status: str | None = wire(None)
    queue: str | None = wire(None)
    owner: str | None = wire(None)
    limit: int = wire(100, least=1, bound=100_000)


@frozen(kw_only=True)
class DatasetName:
    """A dataset by its name."""

    name: str = wire()


@frozen(kw_only=True)
class DaemonName:
    """A daemon by the name of its entry in [daemon] config, or of its own."""

    name: str = wire()


@frozen(kw_only=True)
class WorkerStatus:
    """A pilot says that it started or finished (reference/wire.md 2.4)."""

    ignored: ClassVar = frozenset(("token",))

    worker_id: int = wire(legacy="workerID")
    harvester_id: str = wire(legacy="harvesterID")
    status: str = wire()
    site: str | None = wire(None)
    node_id: str | None = wire(None, cut=80)
    timeout: int = wire(60, forgiving=True)


@frozen(kw_only=True)
class WorkerNode:
    """What a pilot found on its node (reference/wire.md 2.5). Clock in MHz, memory in MB, disk in GB."""

    site: str = wire(cut=128)
    host_name: str = wire(cut=128)
    cpu_model: str = wire(cut=128)
    panda_queue: str | None = wire(None, cut=128)
    n_logical_cpus: int | None = wire(None, bound=INTEGER)
    n_sockets: int | None = wire(None, bound=INTEGER)
    cores_per_socket: int | None = wire(None, bound=INTEGER)
    threads_per_core: int | None = wire(None, bound=INTEGER)
    cpu_architecture: str | None = wire(None, cut=20)
    cpu_architecture_level: str | None = wire(None, cut=20)
    clock_speed: float | None = wire(None, bound=9_999_999.0)
    total_memory: int | None = wire(None, bound=BIG)
    total_local_disk: int | None = wire(None, bound=BIG)
    timeout: int = wire(60, forgiving=True)


@frozen(kw_only=True)
class WorkerNodeGpu:
    """The graphics processors that a pilot found on its node (reference/wire.md 2.6). Memory in MB."""

    site: str = wire(cut=128)
    host_name: str = wire(cut=128)
    vendor: str = wire(cut=128)
    model: str = wire(cut=128)
    count: int = wire(bound=INTEGER)
    vram: int | None = wire(None, bound=BIG)
    architecture: str | None = wire(None, cut=128)
    framework: str | None = wire(None, cut=128)
    framework_version: str | None = wire(None, cut=20)
    driver_version: str | None = wire(None, cut=20)
    timeout: int = wire(60, forgiving=True)
