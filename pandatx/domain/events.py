"""Event ranges: parts of a job's input that it takes one by one, and what may be said of them.

Facts: reference/wire.md 2.10, 4.5, 4.6; lifecycle.md 8.3 (jedi_events). A range lies with a jobset until one of its
jobs takes it; ``attempt_nr`` counts down the attempts that are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import islice
from typing import Any, Final

from attrs import field, frozen

from pandatx.domain.heartbeat import KILL
from pandatx.domain.requests import BIG, INTEGER, SMALL


class RangeStatus(IntEnum):
    """Of a range, as the tables have it."""

    READY = 0
    SENT = 1
    RUNNING = 2
    FINISHED = 3
    CANCELLED = 4
    DISCARDED = 5
    DONE = 6
    FAILED = 7
    FATAL = 8
    MERGED = 9
    CORRUPTED = 10
    RESERVED_FAIL = 98
    RESERVED_GET = 99


OUT: Final = (RangeStatus.SENT, RangeStatus.RUNNING)
"""A job has it, and has not said yet how it ended."""
EVENTS, MERGING, CLONING, JUMBO, CO_JUMBO, FINE_GRAINED = 1, 2, 3, 4, 5, 6
"""Values of a job's eventService."""
PREEMPTED: Final = 122
"""The supErrorCode of a consumer that is to give way: its kill is a soft one."""
SOFT_KILL: Final = "softkill"
MOST: Final = 100_000
"""Ranges that one update may speak of; of the others nothing is said."""
MOST_AT_ONCE: Final = 6000
"""Ranges that are given out at once; Harvester asks for 5,120."""
LONGEST_DIAG: Final = 500
_ID: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})-([0-9]{1,19})-([0-9]{1,19})-([0-9]{1,5})")
_TAKING: Final = frozenset(("sent", "running", "starting"))
_REPORTING: Final = _TAKING | {"transferring"}
_ENDINGS: Final[Mapping[str, RangeStatus]] = {
    "finished": RangeStatus.FINISHED,
    "failed": RangeStatus.FAILED,
    "fatal": RangeStatus.FAILED,
}
_ON_THE_WAY: Final = frozenset(("running", "transferring"))
_FATAL: Final = "fatal"


def status_name(status: int) -> str:
    """How the wire calls a status."""
    try:
        return RangeStatus(status).name.lower()
    except ValueError:
        return f"unknown {status}"


@frozen
class RangeId:
    """A range in one attempt; ``job_id`` is the job that has it, or its jobset."""

    task_id: int
    job_id: int
    file_id: int
    process_id: int
    attempt_nr: int

    def __str__(self) -> str:
        return f"{self.task_id}-{self.job_id}-{self.file_id}-{self.process_id}-{self.attempt_nr}"

    @classmethod
    def parse(cls, text: Any) -> RangeId | None:
        """None for what is no id of a range."""
        found = _ID.fullmatch(text) if isinstance(text, str) else None
        numbers = [int(number) for number in found.groups()] if found else []
        if not numbers or max(numbers) > BIG or numbers[-1] > SMALL:
            return None
        return cls(*numbers)


@frozen(kw_only=True)
class ZipFile:
    """What several ranges' outputs were packed into."""

    lfn: str
    fsize: int = 0
    checksum: str | None = None
    n_events: str | None = None
    destination: str | None = None


@frozen(kw_only=True)
class RangeUpdate:
    """How a range ended. ``fatal``: it is not to be tried again."""

    id: RangeId
    status: RangeStatus
    fatal: bool = False
    objstore_id: int | None = None
    error_code: int | None = None
    error_diag: str | None = None
    path_convention: int | None = None
    zip: ZipFile | None = None


Read = RangeUpdate | bool | None
"""What one element of an update says; False: it cannot be taken; None: nothing that is to be stored."""


def read_updates(value: Any) -> list[Read]:
    """The elements of an update, in their order: ranges, or chunks of them with the file they were packed into.

    Raises ValueError where it is no list.
    """
    if not isinstance(value, list):
        raise ValueError("is not a list of event ranges")
    return [_read(each, zipped) if n < MOST else None for n, (each, zipped) in enumerate(_flat(value))]


def more_than(n: int, value: Any) -> bool:
    """Whether an update speaks of more ranges than ``n``, chunks of them taken apart."""
    return isinstance(value, list) and next(islice(_flat(value), n, None), None) is not None


def _flat(value: Sequence[Any]) -> Iterator[tuple[Any, ZipFile | None]]:
    for each in value:
        ranges = each.get("eventRanges") if isinstance(each, dict) else None
        if isinstance(ranges, list):
            zipped = _zip(each.get("zipFile"))
            yield from ((one, zipped) for one in ranges)
        else:
            yield each, None


def _read(each: Any, zipped: ZipFile | None) -> Read:
    if not isinstance(each, dict):
        return False
    found, said = RangeId.parse(each.get("eventRangeID")), each.get("eventStatus")
    if found is None or not isinstance(said, str):
        return False
    if said in _ON_THE_WAY:
        return None
    if said not in _ENDINGS:
        return False
    diag = each.get("errorDiag")
    return RangeUpdate(
        id=found,
        status=_ENDINGS[said],
        fatal=said == _FATAL,
        objstore_id=_number(each.get("objstoreID"), BIG),
        error_code=_number(each.get("errorCode"), INTEGER),
        error_diag=None if diag is None else str(diag).replace("\0", "")[:LONGEST_DIAG],
        path_convention=_number(each.get("pathConvention"), SMALL),
        zip=zipped,
    )


def _zip(value: Any) -> ZipFile | None:
    if not isinstance(value, dict) or not isinstance(value.get("lfn"), str) or not value["lfn"]:
        return None
    adler32, place, convention = value.get("adler32"), value.get("objstoreID"), value.get("pathConvention")
    destination = None if place is None else f"{place}" if convention is None else f"{place}/{convention}"
    return ZipFile(
        lfn=value["lfn"].replace("\0", "")[:4000],
        fsize=max(_number(value.get("fsize"), BIG) or 0, 0),
        checksum=None if adler32 is None else _text(f"ad:{adler32}", 36),
        n_events=None if value.get("numEvents") is None else _text(value["numEvents"], 250),
        destination=None if destination is None else _text(destination, 250),
    )


def _text(value: Any, most: int) -> str:
    return str(value).replace("\0", "")[:most]


def _number(value: Any, bound: int) -> int | None:
    """An integer from a number or its text; None for any other value, and for one that no column takes."""
    try:
        number = int(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and -bound <= number <= bound else None


@frozen(kw_only=True)
class EventJob:
    """What counts of an active job, or of a job of a jobset, when its ranges are dealt with."""

    panda_id: int
    job_status: str
    jobset_id: int | None = None
    jedi_task_id: int | None = None
    event_service: int | None = None
    command_to_pilot: str | None = None
    sup_error_code: int = 0

    @property
    def jumbo(self) -> bool:
        """Takes ranges of any jobset of its task."""
        return self.event_service == JUMBO

    def may_take(self, task_id: int | None) -> bool:
        """Whether it gets ranges of this task now."""
        mine = self.jedi_task_id is None or task_id in (None, self.jedi_task_id)
        return mine and self.job_status in _TAKING and KILL not in (self.command_to_pilot or "")

    def may_report(self, early: bool) -> bool:
        """Whether it may say how ranges ended; ``early``: before it was dispatched, too."""
        return self.job_status in _REPORTING or (early and self.job_status == "activated")

    @property
    def command(self) -> str | None:
        """What its pilot is told."""
        if self.command_to_pilot and self.sup_error_code == PREEMPTED:
            return SOFT_KILL
        return self.command_to_pilot or None


@frozen(kw_only=True)
class Judged:
    """An update against the jobs that it speaks of.

    ``returns`` and ``commands`` are the answer; ``accepted`` is stored, each range once; ``counted`` are the jobs, or
    jobsets, of which some ranges have finished.
    """

    returns: list[bool | None]
    commands: dict[int, str | None]
    accepted: list[RangeUpdate] = field(repr=False)
    counted: frozenset[int]


def ids_of(read: Iterable[Read]) -> list[tuple[int, int]]:
    """The task and the job, or jobset, of each range that ended, each pair once, in the order of the jobs."""
    found = {(each.id.task_id, each.id.job_id) for each in read if isinstance(each, RangeUpdate)}
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def judge(read: Iterable[Read], jobs: Mapping[int, EventJob], early: bool) -> Judged:
    """Decide on an update; ``jobs`` are those that are active, by the ids that ranges name them by.

    Of a job that is not active the pilot hears that it is to end. Of a range that is named twice the first counts.
    """
    returns: list[bool | None] = []
    commands: dict[int, str | None] = {}
    accepted: dict[RangeId, RangeUpdate] = {}
    for each in read:
        if not isinstance(each, RangeUpdate):
            returns.append(each)
            continue
        job = jobs.get(each.id.job_id)
        commands.setdefault(each.id.job_id, KILL if job is None else job.command)
        if job is None or not job.may_report(early):
            returns.append(False)
            continue
        returns.append(True)
        accepted.setdefault(each.id, each)
    counted = frozenset(one.id.job_id for one in accepted.values() if one.status is RangeStatus.FINISHED)
    return Judged(returns=returns, commands=commands, accepted=list(accepted.values()), counted=counted)
