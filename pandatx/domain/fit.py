"""Which activated jobs can fit which pilots: classes of fit, and what a pilot wants (reference/database.md 1.2)."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from typing import Final, NamedTuple

from attrs import field, frozen

from pandatx.domain.job import Job
from pandatx.domain.labels import LabelFilter
from pandatx.domain.shares import UNDEFINED

# The SQL function fit_class_1 has the same bounds. Other bounds are another function and another index.
VERSION: Final = 1
RAM_BOUNDS: Final = (
    1, 501, 1001, 1501, 2001, 2501, 3001, 3501, 4001, 5001, 6001, 8001, 10001, 12001, 16001, 20001, 24001, 32001,
    48001, 64001, 128001,
)  # fmt: skip
DISK_BOUNDS: Final = (1, 501, 1001, 2001, 5001, 10001, 15001, 20001, 30001, 50001, 100001)
WALL_BOUNDS: Final = (1, 3601, 10801, 21601, 43201, 86401, 172801, 259201, 345601)
LABEL_CLASSES: Final = {"managed": 1, "test": 2, "prod_test": 2, "install": 3, "user": 4, "panda": 4}
OTHER_LABELS: Final = 9
UNLIMITED: Final = 2**40

_LABELS_OF: Final = {
    number: frozenset(label for label, of in LABEL_CLASSES.items() if of == number)
    for number in LABEL_CLASSES.values()
}  # fmt: skip


class Key(NamedTuple):
    """What the claim index begins with after the queue: jobs of one key are alike for dispatch, up to bounds."""

    gshare: str
    resource_type: str
    fit: int


class Mark(NamedTuple):
    """A place in the order of one key: negative priority, then PandaID."""

    priority: int
    panda_id: int


class Digits(NamedTuple):
    """A fit class taken apart."""

    label: int
    ram: int
    disk: int
    wall: int


def bucket(bounds: tuple[int, ...], value: int) -> int:
    """PostgreSQL's width_bucket over an array: how many bounds are not above the value."""
    return bisect_right(bounds, value)


def fit_class(label: str | None, ram: int, disk: int, wall: int | None) -> int:
    """The class of a job: MB, MB, seconds (None is no limit); the same number as the SQL function fit_class_1."""
    return (
        LABEL_CLASSES.get(label or "", OTHER_LABELS) * 100000
        + bisect_right(RAM_BOUNDS, ram) * 1000
        + bisect_right(DISK_BOUNDS, disk) * 10
        + bisect_right(WALL_BOUNDS, wall or 0)
    )


@cache
def digits_of(fit: int) -> Digits:
    label, rest = divmod(fit, 100000)
    ram, rest = divmod(rest, 1000)
    disk, wall = divmod(rest, 10)
    return Digits(label, ram, disk, wall)


def key_of(job: Job) -> Key:
    return Key(
        job.gshare or UNDEFINED,
        job.resource_type or UNDEFINED,
        fit_class(job.prod_source_label, job.min_ram_count, job.max_disk_count, job.max_walltime),
    )


def mark_of(job: Job) -> Mark:
    return Mark(-job.current_priority, job.panda_id)


def _limit(value: int) -> int:
    return value if 0 < value < UNLIMITED else UNLIMITED


@frozen(kw_only=True, cache_hash=True)
class Want:
    """What a pilot may be given. Equal wants on one queue are served by one search.

    Limits are MB, MB and seconds; ``UNLIMITED`` filters nothing, and so does 0 when given, as pilots send it.
    ``ram_per_core`` is the mean-RSS throttle of pushed queues. ``narrow``: filters that no key shows.
    """

    labels: LabelFilter
    memory: int = field(default=UNLIMITED, converter=_limit)
    disk: int = field(default=UNLIMITED, converter=_limit)
    walltime: int = field(default=UNLIMITED, converter=_limit)
    resource_type: str | None = None
    user: str | None = None
    task_id: int | None = None
    background: bool = False
    ram_per_core: float | None = None

    @property
    def narrow(self) -> bool:
        return (
            self.user is not None or self.task_id is not None or self.background or self.ram_per_core is not None
        )  # fmt: skip

    def may_find(self, key: Key) -> bool:
        """Whether a job of this key can fit."""
        digits = digits_of(key.fit)
        return (
            (self.resource_type is None or self.resource_type == key.resource_type)
            and self._may_find_label(digits.label)
            and digits.ram <= bisect_right(RAM_BOUNDS, self.memory)
            and digits.disk <= bisect_right(DISK_BOUNDS, self.disk)
            and digits.wall <= bisect_right(WALL_BOUNDS, self.walltime)
        )

    def covers(self, key: Key) -> bool:
        """Whether every job of this key fits, so that a search that finds none has seen the end of it."""
        digits = digits_of(key.fit)
        return (
            not self.narrow
            and (self.resource_type is None or self.resource_type == key.resource_type)
            and digits.label in _LABELS_OF
            and _LABELS_OF[digits.label] <= self.labels.labels
            and self.memory >= _largest(RAM_BOUNDS, digits.ram)
            and self.disk >= _largest(DISK_BOUNDS, digits.disk)
            and self.walltime >= _largest(WALL_BOUNDS, digits.wall)
        )

    def fits(self, job: Job) -> bool:
        """Whether this job may be given, by every filter."""
        return (
            self.labels.fits(job.prod_source_label, job.processing_type)
            and job.min_ram_count <= self.memory
            and job.max_disk_count <= self.disk
            and (job.max_walltime or 0) <= self.walltime
            and (self.resource_type is None or self.resource_type == (job.resource_type or UNDEFINED))
            and (self.user is None or self.user == job.prod_user_name)
            and (self.task_id is None or self.task_id == job.jedi_task_id)
            and (not self.background or job.job_execution_id == 1)
            and (self.ram_per_core is None or job.min_ram_count <= self.ram_per_core * (job.core_count or 1))
        )

    def _may_find_label(self, number: int) -> bool:
        if self.labels.processing_types:
            return True
        return any(LABEL_CLASSES.get(label, OTHER_LABELS) == number for label in self.labels.labels)


def _largest(bounds: tuple[int, ...], number: int) -> int:
    """The largest value of a bucket; the last one has no end."""
    return bounds[number] - 1 if number < len(bounds) else UNLIMITED
