"""What a daemon is given for one run."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, Protocol

from attrs import define, field
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.workers.output import file_part


class RunStopped(Exception):
    """The run is to end here, between two batches; the text says why."""


class Native(Protocol):
    """A daemon that lives in the reactor. True means: in loop mode, go on at once."""

    async def run(self, context: Context) -> bool: ...


@define(eq=False)
class Context:
    """One run of one daemon: its time, its arguments, its log, and whether it should end.

    ``deadline`` is in the reactor's seconds. Works without a scheduler too: ``pandatx daemon run`` makes one.
    """

    _clock: Clock
    daemon: str
    arguments: tuple[Any, ...] = ()
    log: Logger = field(init=False)
    deadline: float | None = None
    counts: Counter[str] = field(init=False, factory=Counter)
    why_stopping: str = field(init=False, default="")

    def __attrs_post_init__(self) -> None:
        self.log = Logger(f"pandatx.scheduler.daemons.{file_part(self.daemon)}")

    def now(self) -> datetime:
        """The database's time, aware UTC."""
        return self._clock.now()

    def seconds_left(self) -> float | None:
        """How long the run may still take, or None where nothing limits it."""
        return None if self.deadline is None else self.deadline - self._clock.seconds()

    def did(self, **counts: int) -> None:
        """Count what the run has done; told in one line at its end, if there was anything."""
        self.counts.update(counts)

    @property
    def stopping(self) -> bool:
        """Whether the run should end as soon as its batch is done."""
        return bool(self.why_stopping)

    def stop(self, why: str) -> None:
        """Ask the run to end; the first reason stays."""
        self.why_stopping = self.why_stopping or why

    async def breathe(self) -> None:
        """Between two batches: let others have the reactor, and raise RunStopped if the run should end."""
        self._end_if_asked()
        await self._clock.wait(0)
        self._end_if_asked()

    def _end_if_asked(self) -> None:
        if self.why_stopping:
            raise RunStopped(self.why_stopping)
