"""How a job ends whose outputs others were to merge (reference/lifecycle.md 1.2 and 1.5)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from attrs import frozen

from pandatx.domain.job import Job
from pandatx.domain.report import OUTPUTS

MERGE_FAILED: Final = 113
_ENDS: Final = frozenset(("failed", "cancelled", "closed"))


@frozen(kw_only=True)
class Outcome:
    """``merged``: an output is in what a merge job has made; ``ended``: the status of one that will not try again."""

    merged: bool
    ended: str | None = None

    @property
    def status(self) -> str:
        """What is merged must not be made a second time: so one merged output is enough."""
        if self.merged:
            return "finished"
        return self.ended if self.ended in _ENDS else "failed"


def changes_of(job: Job, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """Attributes of the job that has waited for its merging."""
    status = outcome.status
    changes: dict[str, Any] = {"job_status": status, "modification_time": now, "state_change_time": now}
    if job.end_time is None:
        changes["end_time"] = now
    if status != "finished":
        changes["task_buffer_error_code"] = MERGE_FAILED
        changes["task_buffer_error_diag"] = f"its merge job {'has failed' if status == 'failed' else f'was {status}'}"
        changes["job_sub_status"] = f"merge_{status}"
    return changes


def file_changes_of(job: Job, outcome: Outcome) -> dict[int, dict[str, Any]]:
    """Its outputs share the fate of the merging; what was not made stays so."""
    return {
        each.row_id: {"status": outcome.status}
        for each in job.files
        if each.type in OUTPUTS and each.status != "nooutput"
    }
