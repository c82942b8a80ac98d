"""What is asked of tasks, statistics and settings without changing anything (reference/wire.md 3.3, 3.4, 5.1, 6)."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from attrs import Factory, frozen

from pandatx.domain.requests import SMALL, wire

INPUT_TYPES: Final = ("input", "pseudo_input")
MOST_DAYS: Final = 36_500


@frozen(kw_only=True)
class TaskDetails:
    """A task with its datasets, its jobs, and what else is wanted."""

    task_id: int = wire(legacy="jediTaskID", exact=True)
    include_parameters: bool = wire(False, legacy="fullFlag")
    include_status: bool = wire(False, legacy="withTaskInfo")


@frozen(kw_only=True)
class TasksModified:
    """The tasks of an owner, the caller unless ``dn`` names another, that have changed since a time."""

    since: str = wire(legacy="timeRange")
    dn: str | None = wire(None)
    full: bool = wire(False, legacy="fullFlag")
    min_task_id: int | None = wire(None, legacy="minTaskID", forgiving=True)
    prod_source_label: str = wire("user", legacy="task_type")


@frozen(kw_only=True)
class TaskSearch:
    """Tasks by a time and by filters: an object of attributes and patterns, or its JSON text.

    ``n_tasks``: no more than so many are looked at, nor more than the server looks at at once.
    """

    since: str | None = wire(None)
    filters: str | None = wire(None, document=True)
    n_tasks: int = wire(500, least=1)


@frozen(kw_only=True)
class TaskDatasets:
    """The datasets of a task of some types, with their files or without."""

    task_id: int = wire(exact=True, aliases=("jediTaskID",))
    dataset_types: tuple[str, ...] = wire(INPUT_TYPES, most=100)
    dataset_only: bool = wire(False)


@frozen(kw_only=True)
class TaskJobs:
    """The jobs of a task, or those without success."""

    task_id: int = wire(legacy="jediTaskID", exact=True)
    unsuccessful_only: bool = wire(False)


@frozen(kw_only=True)
class JumboDatasets:
    """Tasks with jumbo jobs that changed between two times, in days before now."""

    from_offset: int = wire(legacy="n_days", least=0, bound=MOST_DAYS)
    to_offset: int = wire(0, legacy="grace_period", least=0, bound=MOST_DAYS)


@frozen(kw_only=True)
class SourceType:
    """Jobs of production or of users."""

    type: str = wire("production")


@frozen(kw_only=True)
class TimeWindow:
    """How far back ended jobs are counted, in minutes; None: 12 hours."""

    time_window: int | None = wire(None)


@frozen(kw_only=True)
class SiteType:
    """Queues of a type: unified, production, analysis, or all."""

    type: str = wire("analysis")


@frozen(kw_only=True)
class OneJob:
    """A job whose script is wanted; ``days``: not one that ended longer ago."""

    job_id: int = wire(legacy="pandaID", exact=True)
    days: int | None = wire(None, forgiving=True, least=0, bound=SMALL)


@frozen(kw_only=True)
class DebugMode:
    """Turn the debug mode of a job on or off."""

    job_id: int = wire(legacy="pandaID", exact=True)
    mode: bool = wire(legacy="modeOn")


@frozen(kw_only=True)
class JobStatusIds:
    """Some jobs, as the oldest clients that speak JSON ask; ``no_pickle``: the answer is a list of state lists."""

    job_ids: tuple[int, ...] = wire(legacy="ids", most=5500)
    no_pickle: bool = wire(False)


@frozen(kw_only=True)
class Anything:
    """Whatever the caller sends, by its names."""

    rest: ClassVar = "parameters"

    parameters: dict[str, Any] = wire(Factory(dict))
