"""What is asked of tasks, in both dialects (reference/wire.md 3.1, 3.2, 5.1, 5.2), and of workflows."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from pandatx.domain.requests import INTEGER, SMALL, wire

MOST_TASKS: Final = 10_000
MOST_PARAMETERS: Final = 10_000
"""A hundred times what tasks have; they are gone through in the reactor's thread."""


@frozen(kw_only=True)
class TaskSubmission:
    """A task by its parameters. ``proper_error_code``: the older dialect answers with a code, else with a boolean."""

    task_parameters: dict[str, Any] = wire(legacy="taskParams", most=MOST_PARAMETERS)
    parent_tid: int | None = wire(None, exact=True)
    proper_error_code: bool = wire(False, legacy="properErrorCode")


@frozen(kw_only=True)
class TaskId:
    """A task by its jediTaskID."""

    task_id: int = wire(legacy="jediTaskID", exact=True)


@frozen(kw_only=True)
class TaskRelease:
    """The same, as the older dialect spells it for one method."""

    task_id: int = wire(legacy="jedi_task_id", exact=True)


@frozen(kw_only=True)
class TaskKill(TaskId):
    """End a task. ``broadcast`` asks that its pilots hear of it at once, where there is a topic to tell them by."""

    broadcast: bool = wire(False)
    proper_error_code: bool = wire(False, legacy="properErrorCode")


@frozen(kw_only=True)
class TaskFinish(TaskKill):
    """End a task with what it has; ``soft``: only the jobs that wait are ended."""

    soft: bool = wire(False)


@frozen(kw_only=True)
class TaskRetry(TaskId):
    """Do again what has failed, with other parameters perhaps."""

    new_parameters: dict[str, Any] | None = wire(None, legacy="newParams", most=MOST_PARAMETERS)
    no_child_retry: bool = wire(False, legacy="noChildRetry")
    discard_events: bool = wire(False, legacy="discardEvents")
    disable_staging_mode: bool = wire(False)
    keep_gshare_priority: bool = wire(False)
    ignore_hard_exhausted: bool = wire(False)
    proper_error_code: bool = wire(False, legacy="properErrorCode")


@frozen(kw_only=True)
class InputReload(TaskId):
    """Look for new input files of a task that has ended."""

    ignore_hard_exhausted: bool = wire(False)
    proper_error_code: bool = wire(False, legacy="properErrorCode")


@frozen(kw_only=True)
class TaskReassignment(TaskId):
    """Send a task elsewhere. ``mode`` is kill, soft or nokill; ``soft`` is the older spelling of the second."""

    site: str | None = wire(None)
    cloud: str | None = wire(None)
    nucleus: str | None = wire(None)
    mode: str | None = wire(None)
    soft: bool = wire(False)


@frozen(kw_only=True)
class TaskReactivation(TaskId):
    """Do all of a task again."""

    keep_attempt_nr: bool = wire(False)
    trigger_job_generation: bool = wire(False)


@frozen(kw_only=True)
class UnfinishedJobsKill(TaskId):
    """End all jobs of a task that have not ended."""

    code: int | None = wire(None)
    use_email_as_id: bool = wire(False, legacy="useMailAsID")


@frozen(kw_only=True)
class ShareReassignment:
    """Give tasks, and their jobs, another global share."""

    task_id_list: tuple[int, ...] = wire(legacy="jedi_task_ids_pickle", aliases=("jedi_task_ids",), most=MOST_TASKS)
    share: str = wire()
    reassign_running_jobs: bool = wire(legacy="reassign_running")


@frozen(kw_only=True)
class JumboJobs(TaskId):
    """How many jumbo jobs a task is to have; none turns them off."""

    jumbo_jobs_total: int = wire(legacy="nJumboJobs", bound=INTEGER)
    jumbo_jobs_per_site: int | None = wire(None, legacy="nJumboPerSite", bound=INTEGER)


@frozen(kw_only=True)
class JobCloning:
    """Have each job of a task made several times. ``mode`` is runonce or storeonce."""

    jedi_task_id: int = wire(exact=True)
    mode: str | None = wire(None)
    multiplicity: int | None = wire(None, bound=INTEGER)
    num_sites: int | None = wire(None, bound=INTEGER)


@frozen(kw_only=True)
class ClonedTask:
    """A task whose jobs are not to be cloned any more."""

    jedi_task_id: int = wire(exact=True)


@frozen(kw_only=True)
class AttemptIncrease(TaskId):
    """More attempts for the files of a task."""

    increase: int = wire(legacy="increasedNr", bound=SMALL)


@frozen(kw_only=True)
class AttributeChange(TaskId):
    """Another value for an attribute of a task."""

    attribute_name: str = wire(legacy="attrName")
    value: int = wire(legacy="attrValue", bound=INTEGER)


@frozen(kw_only=True)
class SplitRuleChange(TaskId):
    """Another value for a split rule of a task, by its two letters; a blank or None removes the rule."""

    attribute_name: str = wire(legacy="attrName")
    value: str = wire(legacy="attrValue")


@frozen(kw_only=True)
class ModificationTimeChange(TaskId):
    """Move the time at which a task was last looked after to so many hours from now."""

    hour_offset: int = wire(legacy="diffValue")


@frozen(kw_only=True)
class PriorityChange(TaskId):
    """Another priority for a task and its jobs."""

    priority: int = wire(legacy="newPriority", bound=INTEGER)


@frozen(kw_only=True)
class WorkflowDefinition:
    """A workflow as its engine reads it."""

    workflow_definition: dict[str, Any] = wire(most=MOST_PARAMETERS)


@frozen(kw_only=True)
class WorkflowRawRequest:
    """A workflow as its user has written it: an object, or the JSON text of one."""

    params: dict[str, Any] = wire(most=MOST_PARAMETERS)


@frozen(kw_only=True)
class WorkflowId:
    """A workflow by its id."""

    workflow_id: int = wire(exact=True)
