"""What becomes of a task's files and datasets when its jobs end or go on (reference/lifecycle.md 1.8 A and 7.12)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import Factory, define, evolve, field, frozen

from pandatx.domain.event_leases import ALL_DONE, is_clone, is_search
from pandatx.domain.events import FINE_GRAINED
from pandatx.domain.heartbeat import queued_since
from pandatx.domain.job import Job, JobFile
from pandatx.domain.lifecycle import TERMINAL

Key = tuple[int, int, int]
"""jediTaskID, datasetID, fileID."""

TASK_OVER: Final = frozenset(("done", "finished", "failed", "broken", "aborted", "prepared"))
"""A task in one of these hears no more of its jobs."""
INPUTS: Final = frozenset(("input", "pseudo_input"))
_OUTPUTS: Final = frozenset(("output", "log"))
_IN_A_JOB: Final = frozenset(("picked", "running", "merging"))
_SETTLED: Final = frozenset(("finished", "failed", "cancelled", "nooutput", "merged", "notmerged", "lost", "missing"))
_WITHDRAWN: Final = frozenset(("cancelled", "closed"))
_EVENT_SERVICE: Final = frozenset((1, 4, 5))
_LIBRARY: Final = ".lib.tgz"
MERGE: Final = "pmerge"
TO_MERGE: Final = "TOMERGE"
MERGE_ATTEMPTS: Final = 3


@frozen(kw_only=True)
class TaskFile:
    """A row of JEDI's file table, locked, with the type of its dataset and whether that is the master input.

    ``merge_begun``: the block of an output that is to be merged is complete, and JEDI was told so.
    """

    task_id: int
    dataset_id: int
    file_id: int
    dataset_type: str = "input"
    master: bool = True
    lfn: str = ""
    guid: str | None = None
    fsize: int | None = None
    checksum: str | None = None
    status: str = "running"
    attempt_nr: int | None = None
    max_attempt: int | None = None
    failed_attempt: int | None = None
    max_failure: int | None = None
    keep_track: int | None = None
    panda_id: int | None = None
    out_panda_id: int | None = None
    boundary_id: int | None = None
    n_events: int | None = None
    start_event: int | None = None
    end_event: int | None = None
    proc_status: str | None = None
    merge_begun: bool = False

    @property
    def key(self) -> Key:
        return self.task_id, self.dataset_id, self.file_id

    @property
    def has_attempts(self) -> bool:
        """Whether another job may try it. One that has none left keeps ``ready`` all the same (9.4, 42)."""
        if self.max_attempt is None:
            return True
        spent = self.max_failure is not None and (self.failed_attempt or 0) >= self.max_failure
        return (self.attempt_nr or 0) < self.max_attempt and not spent

    @property
    def events(self) -> int:
        """How many events a job reads of it."""
        if self.start_event is not None and self.end_event is not None and self.n_events is not None:
            return self.end_event - self.start_event + 1
        return self.n_events or 0


@frozen(kw_only=True)
class TaskJob:
    """A job of a task, as it was and as it is now; the files of ``after`` carry what its report said of them.

    ``n_events`` are those of outputs by LFN; ``last_attempt``: its inputs are not to be tried again.
    """

    before: Job
    after: Job
    n_events: Mapping[str, int] = field(factory=dict)
    last_attempt: bool = False

    @property
    def ends(self) -> bool:
        return self.after.job_status in TERMINAL


@frozen(kw_only=True)
class Copy:
    """A file that a job has made beside an output: its row begins as a copy of that output's."""

    panda_id: int
    key: Key
    original: int
    lfn: str


def copies_of(jobs: Iterable[TaskJob]) -> list[Copy]:
    """The rows that are to be made for the files which jobs have made beside their outputs."""
    found = []
    for job in jobs:
        known = {each.file_id for each in job.before.files}
        originals = {each.dataset_id: each.file_id for each in job.before.files if each.type in _OUTPUTS}
        for each in job.after.files:
            original = originals.get(each.dataset_id)
            if each.file_id is None or each.file_id in known or not each.dataset_id or not original:
                continue
            key = (job.after.jedi_task_id or 0, each.dataset_id, each.file_id)
            found.append(Copy(panda_id=job.after.panda_id, key=key, original=original, lfn=each.lfn))
    return found


@define
class Settlement:
    """What is to be written: rows as they are now, and what is added to counters.

    ``datasets``: by task and dataset, counters in the spelling of the columns. ``done``: by task, finished jobs
    and the events that they made. ``queued``: tasks with the tag tq that have files to be tried again.
    """

    files: dict[Key, TaskFile] = Factory(dict)
    datasets: dict[tuple[int, int], Counter[str]] = Factory(dict)
    done: dict[int, Counter[str]] = Factory(dict)
    queued: set[int] = Factory(set)

    def count(self, row: TaskFile, **numbers: int) -> None:
        counter = self.datasets.setdefault((row.task_id, row.dataset_id), Counter())
        for name, n in numbers.items():
            counter[name] += n


def keys_of(jobs: Iterable[TaskJob]) -> list[tuple[Key, str | None]]:
    """The rows that decide how these jobs count, in the order in which they are locked (rule R1), each with the block
    that it waits in for its merging."""
    found = {
        (job.after.jedi_task_id, each.dataset_id, each.file_id): _block_of(each)
        for job in jobs
        if job.after.jedi_task_id is not None
        for each in job.after.files
        if each.dataset_id is not None and each.file_id is not None and not _is_library(each)
    }
    return sorted(found.items(), key=lambda item: item[0])


def _block_of(each: JobFile) -> str | None:
    return each.destination_dblock if _is_unmerged(each) else None


def settle(jobs: Iterable[TaskJob], rows: Mapping[Key, TaskFile]) -> Settlement:
    """Count the ends and changes of these jobs; ``rows`` are locked, and those of tasks that are over are not there.

    A row that has gone to another job or attempt is left alone, and its dataset's counters with it: no file counts
    twice, however often its job ends.
    """
    found = Settlement()
    now = dict(rows)
    live = {row.task_id for row in rows.values()}
    for job in jobs:
        task_id = job.after.jedi_task_id
        if task_id is None or task_id not in live or _is_part_of_events(job.after):
            continue
        made: Counter[int] = Counter()
        for each in job.after.files:
            row = now.get((task_id, each.dataset_id or 0, each.file_id or 0))
            if row is None or _is_library(each) or not _is_of(row, each, job):
                continue
            changed = _ended(found, job, each, row) if job.ends else _moved(found, job, each, row)
            if changed is not row:
                changed = _claimed(job.after, each, changed) if job.ends else changed
                now[row.key] = found.files[row.key] = changed
                made[row.dataset_id] += (changed.n_events or 0) if _is_made(job, each, changed) else 0
        if job.after.job_status == "finished":
            _done(found, job.after, max(made.values(), default=0))
    return found


def _is_library(each: JobFile) -> bool:
    return each.type == "input" and each.lfn.endswith(_LIBRARY)


def _is_unmerged(each: JobFile) -> bool:
    return each.type in _OUTPUTS and each.destination_dblock_token == TO_MERGE


def _is_part_of_events(job: Job) -> bool:
    """A consumer of the event service that was withdrawn: others go on with its file."""
    return job.event_service in _EVENT_SERVICE and job.job_status in _WITHDRAWN


def _is_of(row: TaskFile, each: JobFile, job: TaskJob) -> bool:
    """Whether the row still belongs to this job and attempt; the merging of a file counts attempts of its own.

    Clones share their files, which name one of them.
    """
    if row.keep_track != 1:
        return False
    mine = row.panda_id == job.after.panda_id or is_clone(job.after.special_handling)
    if each.type in INPUTS:
        return mine and row.attempt_nr == each.attempt_nr and row.status in _IN_A_JOB
    if each.type not in _OUTPUTS or row.status in _SETTLED:
        return False
    if _is_unmerged(each) and job.before.job_status == "merging":
        return row.out_panda_id == job.after.panda_id
    return mine and row.attempt_nr == each.attempt_nr


def _claimed(job: Job, each: JobFile, row: TaskFile) -> TaskFile:
    """Of clones, the row names the one that counts."""
    if not is_clone(job.special_handling):
        return row
    made_by = row.out_panda_id if each.type in INPUTS else job.panda_id
    return evolve(row, panda_id=job.panda_id, out_panda_id=made_by)


def _ended(found: Settlement, job: TaskJob, each: JobFile, row: TaskFile) -> TaskFile:
    if each.type in INPUTS:
        return _ended_input(found, job, each, row)
    return _ended_output(found, job, each, row)


def _ended_input(found: Settlement, job: TaskJob, each: JobFile, row: TaskFile) -> TaskFile:
    """Another attempt is over, well or not; what was not used is ready for the next one while it has attempts left.

    No job uses up the input of a search for hyperparameters, nor its attempts: iDDS says when that is over. That of a
    fine-grained job is used up with its last event.
    """
    endless = is_search(job.after.special_handling)
    failed = job.after.job_status == "failed" and not endless
    whole = job.after.event_service != FINE_GRAINED or job.after.job_sub_status == ALL_DONE
    used = job.after.job_status == "finished" and each.status != "skipped" and whole and not endless
    attempt = row.attempt_nr or 0
    after = evolve(
        row,
        status="finished" if used else "ready",
        attempt_nr=(attempt + 1) % row.max_attempt if endless and row.max_attempt else attempt + 1,
        failed_attempt=(row.failed_attempt or 0) + 1 if failed else row.failed_attempt,
        max_attempt=attempt - 1 if job.last_attempt else row.max_attempt,
    )
    if job.before.job_status == "transferring" and job.after.processing_type != MERGE:
        found.count(row, nfilesonhold=-1)
    if used:
        found.count(row, nfilesfinished=1, neventsused=row.events)
        proc_status = "finished"
    elif after.has_attempts:
        # Of a secondary dataset without a limit nobody counts the attempts: its files stay used.
        found.count(row, nfilesused=0 if after.max_attempt is None else -1)
        if after.max_attempt is not None and queued_since(job.after.special_handling) is not None:
            found.queued.add(row.task_id)
        proc_status = "ready"
    else:
        found.count(row, nfilesfailed=1)
        proc_status = "failed"
        if job.after.processing_type == MERGE:
            after = evolve(after, status="notmerged", keep_track=None)
    return evolve(after, proc_status=proc_status) if row.master else after


def _ended_output(found: Settlement, job: TaskJob, each: JobFile, row: TaskFile) -> TaskFile:
    status = job.after.job_status
    if status == "finished" and _is_unmerged(each):
        return row  # its merging has counted it
    if each.status == "nooutput":
        return evolve(row, status="nooutput")
    if status == "finished":
        after = evolve(_described(row, each, job), status="finished", keep_track=None)
        found.count(row, nfilesfinished=1, nevents=after.n_events or 0)
        return after
    found.count(row, nfilesfailed=1)
    if job.before.job_status == "merging" and row.status == "ready":
        # It waits for its block, or already for a merge job, and is then counted as not used yet.
        found.count(row, **({"nfilesused": 1} if row.merge_begun else {"nfilesonhold": -1}))
    return evolve(row, status="cancelled" if status in _WITHDRAWN else status)


def _described(row: TaskFile, each: JobFile, job: TaskJob) -> TaskFile:
    """The row with what is known of the file that was made."""
    events = job.n_events.get(each.lfn, row.n_events)
    return evolve(row, lfn=each.lfn, guid=each.guid, fsize=each.fsize, checksum=each.checksum, n_events=events)


def _moved(found: Settlement, job: TaskJob, each: JobFile, row: TaskFile) -> TaskFile:
    """A job that goes on: its files are on hold while they are transferred, or wait for their merging."""
    old, new = job.before.job_status, job.after.job_status
    if old == new:
        return row
    if each.type in INPUTS:
        return _moved_input(found, job, row)
    if new != "merging" or each.status != "merging":
        return row
    found.count(row, nfilesonhold=1)
    return evolve(
        _described(row, each, job),
        status="ready",
        boundary_id=job.after.panda_id,
        max_attempt=(row.attempt_nr or 0) + MERGE_ATTEMPTS,
    )


def _moved_input(found: Settlement, job: TaskJob, row: TaskFile) -> TaskFile:
    new = job.after.job_status
    if job.after.processing_type != MERGE and row.status == "running":
        found.count(row, nfilesonhold=(new == "transferring") - (job.before.job_status == "transferring"))
    proc_status = PROC_STATUS.get(new)
    return evolve(row, proc_status=proc_status) if row.master and proc_status is not None else row


PROC_STATUS: Final = {
    "pending": "queued",
    "defined": "queued",
    "assigned": "queued",
    "activated": "queued",
    "sent": "starting",
    "starting": "starting",
    "running": "running",
    "transferring": "transferring",
    "merging": "merging",
}
"""What proc_status of the master's files is while their job has a status; others keep it."""


def _is_made(job: TaskJob, each: JobFile, after: TaskFile) -> bool:
    return each.type in _OUTPUTS and job.after.job_status == "finished" and after.status == "finished"


def _done(found: Settlement, job: Job, n_events: int) -> None:
    """total_done_jobs, and the events of the dataset that has most; builds are not counted, nor are merges as jobs."""
    if job.jedi_task_id is None or job.prod_source_label == "panda" or job.locked_by != "jedi":
        return
    counter = found.done.setdefault(job.jedi_task_id, Counter())
    counter["jobs"] += job.processing_type != MERGE
    counter["events"] += n_events
