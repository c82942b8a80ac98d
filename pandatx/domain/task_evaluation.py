"""The class of an analysis task: which sites its jobs may be brokered to, and whether it is helped to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

EXPRESS: Final = "Express Analysis"
S, A, B, C = 2, 1, 0, -1


@frozen(kw_only=True)
class Progress:
    """A task that is under way: its files, and jobs so far."""

    task_id: int
    user: str
    share: str | None
    files: int = 0
    finished: int = 0
    failed: int = 0
    jobs: int = 0

    @property
    def part_finished(self) -> float:
        """Percent."""
        return self.finished * 100 / self.files if self.files > 0 else 0.0

    @property
    def part_failed(self) -> float:
        """Percent."""
        return self.failed * 100 / self.files if self.files > 0 else 0.0

    @property
    def jobs_left(self) -> int:
        """Jobs that are still to come, if files are spread over them evenly."""
        left = max(self.files - self.finished - self.failed, 0)
        return int(self.jobs * left / self.files) if self.files > 0 else 0


@frozen(kw_only=True)
class Boost:
    """From which percentage on, and up to how many jobs left, a task of class A or B is taken to its end."""

    progress_a: float = 90
    progress_b: float = 95
    jobs_a: int = 500
    jobs_b: int = 200


def evaluate(task: Progress, users: Mapping[str, Mapping[str, Any]], boost: Boost) -> dict[str, Any] | None:
    """The row of a task; None for one whose user is not evaluated."""
    if task.share == EXPRESS:
        its_class = S
    elif (user := users.get(task.user)) is None:
        return None
    else:
        its_class = _boosted(task, A if user["rem_slots_A"] > 0 else B if user["rem_slots_B"] > 0 else C, boost)
    return {
        "task_id": task.task_id,
        "user": task.user,
        "gshare": task.share,
        "n_files_total": task.files,
        "n_files_finished": task.finished,
        "n_files_failed": task.failed,
        "pct_finished": task.part_finished,
        "pct_failed": task.part_failed,
        "class": its_class,
    }


def _boosted(task: Progress, its_class: int, boost: Boost) -> int:
    limits = {A: (boost.progress_a, boost.jobs_a), B: (boost.progress_b, boost.jobs_b)}
    if its_class not in limits:
        return its_class
    progress, jobs = limits[its_class]
    return S if task.part_finished >= progress and 0 < task.jobs_left <= jobs else its_class
