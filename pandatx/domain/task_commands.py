"""Commands for tasks: which are taken in which status, and how they are written down (reference/lifecycle.md 7.2)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import orjson
from attrs import frozen

from pandatx.errors import BadRequest, PandaError

ENDED: Final = frozenset(("finished", "done", "prepared", "broken", "aborted", "toabort", "aborting", "failed"))
"""What can be neither killed nor finished any more."""
REOPENED: Final = frozenset(("finished", "failed", "aborted", "done", "exhausted"))
"""From which a task is executed again with new input or parameters."""
ACTIVE: Final = frozenset(("running", "scouting", "pending"))
"""In which a task of a user has its failed jobs retried at once."""
_RETRIED: Final = frozenset(("finished", "failed", "exhausted"))
_REASSIGNED: Final = frozenset(
    ("defined", "ready", "running", "scouting", "scouted", "pending", "assigning", "exhausted")
)
_NOT_PAUSED: Final = frozenset(("finished", "failed", "done", "aborted", "broken", "paused"))
_RESUMED: Final = frozenset(("paused", "throttled", "staging"))
_RELEASED: Final = frozenset(("scouting", "pending", "running", "ready", "assigning", "defined"))
WAITING: Final = "waiting"
"""The status of a task that only T_TASK knows of yet."""
MODES: Final = (None, "kill", "soft", "nokill")


class Code(IntEnum):
    """What a command is answered with."""

    REGISTERED = 0
    NOT_FOUND = 2
    DENIED = 3
    REJECTED = 4
    STILL_ACTIVE = 5


@frozen
class Outcome:
    """A code of reference/wire.md 3.1 or 3.2 and its text."""

    code: int
    message: str


class NotTaskOwner(PandaError):
    """The task is not the caller's, or there is none of that id; the older dialect tells the two apart."""

    def __init__(self, task_id: int, known: bool) -> None:
        super().__init__("not the task owner or no production role")
        self.code = Code.DENIED if known else Code.NOT_FOUND
        self.told = f"Permission denied: {self}" if known else f"jediTaskID={task_id} not found"


@frozen(kw_only=True)
class TaskRow:
    """What of a task a command is judged by."""

    task_id: int
    status: str
    owner: str
    label: str | None = None
    old_status: str | None = None


def refusal(command: str, status: str, *, production: bool, back: bool = False) -> str | None:
    """Why a command is not taken of a task in some status, None where it is.

    ``back``: after a reassignment the task goes back to its former status, so that any will do.
    """
    extra = ""
    if command in ("kill", "finish"):
        taken = status not in ENDED
    elif command == "retry":
        taken = status in _RETRIED
        if taken and status == "exhausted" and not production:
            taken, extra = False, "and production role is missing"
    elif command == "incexec":
        taken = status in REOPENED
    elif command == "reassign":
        taken = back or status in _REASSIGNED
    elif command == "pause":
        taken = status not in _NOT_PAUSED
    elif command == "resume":
        taken = status in _RESUMED
    elif command == "avalanche":
        taken = status == "scouting"
    else:
        taken = status in _RELEASED
    if taken and status != WAITING:
        return None
    return f"Command rejected: the {command} command is not accepted if the task is in {status} status {extra}"


def registered(command: str, task_id: int) -> Outcome:
    """A command that was written down."""
    told = f"command={command} is registered for task ID {task_id}. will be executed in a few minutes"
    return Outcome(Code.REGISTERED, told)


def comment_of(command: str, name: str, qualifier: str = "") -> str:
    """The comment of a command of some user."""
    return f"{qualifier} {command} by {name}" if qualifier else f"{command} by {name}"


def qualifiers(
    *,
    no_child_retry: bool = False,
    discard_events: bool = False,
    disable_staging_mode: bool = False,
    keep_gshare_priority: bool = False,
    ignore_hard_exhausted: bool = False,
) -> list[str]:
    """How a retry is qualified."""
    words = {
        "sole": no_child_retry,
        "discard": discard_events,
        "staged": disable_staging_mode,
        "keep": keep_gshare_priority,
        "transcend": ignore_hard_exhausted,
    }
    return [word for word, wanted in words.items() if wanted]


def reload_comment(ignore_hard_exhausted: bool) -> str:
    """The comment of a command that only looks for new input: no parameters, and the qualifiers."""
    return orjson.dumps([{}, qualifiers(ignore_hard_exhausted=ignore_hard_exhausted)]).decode()


def reassign_comment(site: str | None, cloud: str | None, nucleus: str | None, mode: str | None) -> str:
    """Where a task is sent, as JEDI reads it: target:value:y or n[:mode], y where it keeps its status.

    Without a target it is brokered anew. Raises BadRequest for what JEDI would misread or cannot store.
    """
    if mode not in MODES:
        raise BadRequest("mode", "is not one of kill, soft, nokill")
    for name, value, width in (("site", site, 60), ("cloud", cloud, 10), ("nucleus", nucleus, 52)):
        if value is not None and (len(value) > width or ":" in value):
            raise BadRequest(name, f"is longer than {width} characters, or has a colon")
    if site is not None:
        comment = f"site:{site}:y"
    elif nucleus is not None:
        comment = f"nucleus:{nucleus}:n"
    else:
        comment = f"cloud:{cloud or ''}:n"
    return f"{comment}:{mode} reassign" if mode in ("soft", "nokill") else comment
