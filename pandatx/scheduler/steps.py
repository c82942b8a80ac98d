"""A run of several steps, of which one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable

from attrs import define, field
from twisted.internet.defer import CancelledError

from pandatx.errors import DatabaseAway, PandaError
from pandatx.scheduler.context import Context, RunStopped


class StepsFailed(PandaError):
    """The run has come to its end, but not every step of it; each has told its own fault."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"{len(names)} of its steps failed, as the log has it: {', '.join(names)}")


@define(eq=False)
class Steps:
    """The steps of one run. Counts are told under the steps' names, or by a word that is given."""

    _context: Context
    _failed: list[str] = field(init=False, factory=list)

    async def take(self, name: str, work: Awaitable[int], counted: str = "") -> None:
        """Do a step, and note whether it failed. Without a database the run ends here, as no step could be done."""
        try:
            self._context.did(**{counted or name: await work})
        except (RunStopped, CancelledError, DatabaseAway):
            raise
        except PandaError as fault:
            self._failed.append(name)
            self._context.log.error("{step}: {fault}", step=name, fault=fault)
        except Exception:  # the edge of a periodic loop: the other steps have their turn
            self._failed.append(name)
            self._context.log.failure("{step}: failed", step=name)

    def judge(self) -> None:
        """Raise StepsFailed if a step failed."""
        if self._failed:
            raise StepsFailed(self._failed)
