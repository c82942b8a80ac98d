"""What Harvesters ask, in both dialects (reference/wire.md 4 and 5.2), and what their operators ask of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, Final

from attrs import frozen

from pandatx.domain.requests import INTEGER, wire

MOST: Final = 5000
"""Workers, dialogs, metrics or commands in one request."""
EVERYTHING: Final = "ALL"
"""Stands for a list that names everything."""
ANY_RESOURCE: Final = "ANY"
MOST_COUNTS: Final = 5000
"""Numbers of workers in one report, with the names that they stand under."""
_LONGEST_PERIOD: Final = 36_500
_WIDTHS: Final = {"job type": 52, "resource type": 56, "status": 80}


@frozen(kw_only=True)
class HarvesterId:
    """A Harvester by its name."""

    harvester_id: str = wire()


@frozen(kw_only=True)
class HarvesterHeartbeat:
    """A Harvester lives; ``data`` says what it is, as ``HarvesterFacts``."""

    harvester_id: str = wire(legacy="harvesterID")
    data: dict[str, Any] | None = wire(None)


@frozen(kw_only=True)
class HarvesterFacts:
    """What a Harvester says of itself, and of which commands it wants to be told, each a ``CommandWish``."""

    decisive: ClassVar = frozenset[str]()

    start_time: datetime | None = wire(None, legacy="startTime")
    sw_version: str | None = wire(None, cut=50)
    commit_stamp: str | None = wire(None, cut=100)
    commands: tuple[Any, ...] = wire((), most=MOST)


@frozen(kw_only=True)
class CommandWish:
    """A command that a Harvester takes for a queue and a resource type."""

    decisive: ClassVar = frozenset(("command", "computing_site"))

    command: str = wire(cut=200)
    computing_site: str = wire(legacy="computingSite", cut=128)
    resource_type: str = wire(ANY_RESOURCE, legacy="resourceType", cut=56)


@frozen(kw_only=True)
class CommandsRequest:
    """A Harvester asks for what it is told, the oldest first."""

    harvester_id: str = wire()
    n_commands: int = wire(least=0, bound=INTEGER)
    timeout: int = wire(30, forgiving=True)


@frozen(kw_only=True)
class Acknowledgement:
    """A Harvester has dealt with commands."""

    command_ids: tuple[int, ...] = wire(most=MOST)
    timeout: int = wire(30, forgiving=True)


@frozen(kw_only=True)
class WorkersUpdate:
    """A Harvester reports on workers, each a ``WorkerReport``."""

    harvester_id: str = wire(legacy="harvesterID")
    workers: tuple[Any, ...] = wire(most=MOST)


@frozen(kw_only=True)
class WorkerReport:
    """What a Harvester says of one of its workers; what is None stays as it was (reference/wire.md 4.8).

    ``pandaid_list`` are all jobs of the worker, ``sync_level`` is 1 where the jobs end with it.
    """

    decisive: ClassVar = frozenset(("worker_id",))

    worker_id: int = wire(legacy="workerID", exact=True)
    batch_id: str | None = wire(None, legacy="batchID", cut=80)
    queue_name: str | None = wire(None, legacy="queueName", cut=80)
    status: str | None = wire(None, cut=80)
    computing_site: str | None = wire(None, legacy="computingSite", cut=128)
    n_core: int | None = wire(None, legacy="nCore", bound=INTEGER)
    node_id: str | None = wire(None, legacy="nodeID", cut=80)
    submit_time: datetime | None = wire(None, legacy="submitTime")
    start_time: datetime | None = wire(None, legacy="startTime")
    end_time: datetime | None = wire(None, legacy="endTime")
    job_type: str | None = wire(None, legacy="jobType", cut=52)
    resource_type: str | None = wire(None, legacy="resourceType", cut=56)
    native_exit_code: int | None = wire(None, legacy="nativeExitCode", bound=INTEGER)
    native_status: str | None = wire(None, legacy="nativeStatus", cut=80)
    diag_message: str | None = wire(None, legacy="diagMessage", cut=500)
    n_jobs: int | None = wire(None, legacy="nJobs", bound=INTEGER)
    computing_element: str | None = wire(None, legacy="computingElement", cut=128)
    sync_level: int | None = wire(None, legacy="syncLevel")
    submission_host: str | None = wire(None, legacy="submissionHost", cut=128)
    harvester_host: str | None = wire(None, legacy="harvesterHost", cut=128)
    error_code: int | None = wire(None, legacy="errorCode", bound=INTEGER)
    min_ram_count: int | None = wire(None, legacy="minRamCount", bound=INTEGER)
    pandaid_list: tuple[int, ...] | None = wire(None, most=MOST)
    std_out: str | None = wire(None, legacy="stdOut", cut=250)
    std_err: str | None = wire(None, legacy="stdErr", cut=250)
    batch_log: str | None = wire(None, legacy="batchLog", cut=250)
    jdl: str | None = wire(None, cut=250)


@frozen(kw_only=True)
class WorkerStatistics:
    """How many workers a Harvester has at a queue: {job type: {resource type: {status: number}}}."""

    harvester_id: str = wire(legacy="harvesterID")
    panda_queue: str = wire(legacy="siteName")
    statistics: dict[str, Any] = wire(legacy="paramsList")


@frozen(kw_only=True)
class ServiceMetrics:
    """Figures of a Harvester's machines, each the values of a ``ServiceMetric`` in their order."""

    harvester_id: str = wire(legacy="harvesterID")
    metrics: tuple[Any, ...] = wire(most=MOST)


@frozen(kw_only=True)
class ServiceMetric:
    """Figures of one machine; ``metrics`` is a JSON text, which nothing is cut from."""

    creation_time: datetime = wire()
    host: str = wire(cut=100)
    metrics: str = wire(document=True)


@frozen(kw_only=True)
class Dialogs:
    """Messages of a Harvester, each a ``Dialog``."""

    harvester_id: str = wire(legacy="harvesterID")
    dialogs: tuple[Any, ...] = wire(most=MOST)


@frozen(kw_only=True)
class Dialog:
    """A message of a Harvester to whoever watches it."""

    decisive: ClassVar = frozenset(("diag_id", "creation_time"))

    diag_id: int = wire(legacy="diagID", exact=True)
    module_name: str | None = wire(None, legacy="moduleName", cut=100)
    identifier: str | None = wire(None, cut=100)
    creation_time: datetime = wire(legacy="creationTime")
    message_level: str | None = wire(None, legacy="messageLevel", cut=10)
    diag_message: str | None = wire(None, legacy="diagMessage", cut=500)


@frozen(kw_only=True)
class SweepRequest:
    """Have workers of a queue ended. Each list may be the word ALL; older clients send each value as JSON."""

    panda_queue: str = wire()
    status_list: tuple[str, ...] = wire(most=MOST)
    ce_list: tuple[str, ...] = wire(most=MOST)
    submission_host_list: tuple[str, ...] = wire(most=MOST)

    @property
    def queue(self) -> str:
        return self.panda_queue.strip('"')

    @property
    def statuses(self) -> Sequence[str]:
        return all_or_some(self.status_list)

    @property
    def computing_elements(self) -> Sequence[str]:
        return all_or_some(self.ce_list)

    @property
    def submission_hosts(self) -> Sequence[str]:
        return all_or_some(self.submission_host_list)


@frozen(kw_only=True)
class TargetSlots:
    """How many slots a queue is to fill; -1 for no such wish. The period is in days, or the date of its end."""

    panda_queue: str = wire(legacy="pandaQueueName")
    slots: int = wire(legacy="numSlots")
    global_share: str | None = wire(None, legacy="gshare")
    resource_type: str | None = wire(None, legacy="resourceType")
    expiration_date: str | None = wire(None, legacy="validPeriod")


def all_or_some(words: Sequence[str]) -> Sequence[str]:
    """The word ALL, or a list."""
    return EVERYTHING if len(words) == 1 and words[0].strip('"') == EVERYTHING else list(words)


def expiry(period: str | None, now: datetime) -> datetime | None:
    """When a wish ends, from a number of days or from a date; None for never. Raises ValueError with what is wrong."""
    if period is None:
        return None
    if period.strip().isdecimal():
        days = int(period.strip()[:9])
        if days > _LONGEST_PERIOD:
            raise ValueError(f"is longer than {_LONGEST_PERIOD} days")
        return now + timedelta(days=days)
    try:
        found = datetime.fromisoformat(period.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is neither a number of days nor a date") from None


def counts(statistics: Mapping[str, Any]) -> list[tuple[str, str, str, int]]:
    """Job type, resource type, status and number. An undefined resource type says nothing, and no number is none.

    Raises ValueError with what is wrong; what is too much is not read to its end.
    """
    entries = list(islice(_walk(statistics), MOST_COUNTS + 1))
    if len(entries) > MOST_COUNTS:
        raise ValueError(f"has more than {MOST_COUNTS} numbers")
    return [entry for entry in entries if entry is not None]


def _walk(statistics: Mapping[str, Any]) -> Iterator[tuple[str, str, str, int] | None]:
    """The numbers, and None for each job type and resource type."""
    for job_type, of_type in _entries(statistics, "job type"):
        yield None
        for resource_type, of_resource in _entries(of_type, "resource type"):
            yield None
            if resource_type != "Undefined":
                for status, number in _entries(of_resource, "status"):
                    yield job_type, resource_type, status, _number(number)


def _entries(value: Any, of: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be an object by {of}")
    for name, each in value.items():
        if len(name) > _WIDTHS[of] or "\0" in name:
            raise ValueError(f"has a {of} that is longer than {_WIDTHS[of]} characters")
        yield name, each


def _number(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must count workers in numbers")
    try:
        number = int(value)
    except (ValueError, OverflowError):
        raise ValueError("must count workers in numbers") from None
    if not 0 <= number <= INTEGER:
        raise ValueError("counts more workers than there can be")
    return number
