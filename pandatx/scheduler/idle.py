"""Daemons whose outside service is not configured: they say so once, and stay idle."""

from __future__ import annotations

from attrs import define

from pandatx.scheduler.context import Context


@define(eq=False)
class Idle:
    """What was said last; a reason is told again only after another one or after work."""

    _said: str = ""

    def say(self, context: Context, why: str) -> bool:
        """Tell why there is nothing to do, if that is news. False, as the answer of a run."""
        if why != self._said:
            context.log.info("{daemon} stays idle: {why}", daemon=context.daemon, why=why)
            self._said = why
        return False

    def over(self) -> None:
        """There is something to do."""
        self._said = ""
