"""A daemon as it is scheduled."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen
from attrs.validators import gt

from pandatx.scheduler.context import Native


@frozen(kw_only=True)
class Daemon:
    """A timed script: what runs, and when. Times in seconds.

    Blocking code runs in the process pool, keeps its limit there, and ends early only by ``kill(why)``; native code
    ends between its batches.
    """

    name: str
    period: float = field(validator=gt(0))
    timeout: float = field(validator=gt(0))
    code: Native
    sync: bool = False
    loop: bool = False
    # Not compared: bound methods are equal only on the same object, and a reread entry makes a new one.
    kill: Callable[[str], None] | None = field(default=None, eq=False)
    arguments: tuple[object, ...] = ()
