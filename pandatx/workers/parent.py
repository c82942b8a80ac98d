"""The parent process, as a child sees it: calls come from it, operations and log records go to it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import define, field

from pandatx.workers.protocol import ANSWERS_FD, CALLS_FD, Frames, frame

_PIECE: Final = 1 << 20


class OperationFailed(Exception):
    """The server has refused an operation, or could not do it; ``kind`` is the name of its exception."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class NotNow(RuntimeError):
    """Nobody can be asked: no call is under way, or this process was forked off by a script."""


@define(eq=False)
class Parent:
    """The two pipes. Threads of a script may use it together; processes that a script forks off may not.

    One thread at a time reads, for all: a thread that outlives its script may not take the next call for its answer.
    """

    call: dict[str, Any] | None = field(init=False, default=None)
    forked: bool = field(init=False, default=False)
    _asked: int = field(init=False, default=0)
    _frames: Frames = field(init=False, factory=Frames)
    _arrived: deque[dict[str, Any]] = field(init=False, factory=deque)
    _closed: bool = field(init=False, default=False)
    _reads: bool = field(init=False, default=False)
    _asking: Any = field(init=False, factory=threading.Lock)
    _turn: Any = field(init=False, factory=threading.Condition)
    _writing: Any = field(init=False, factory=threading.Lock)

    def calls(self) -> Iterator[dict[str, Any]]:
        """One call after the other, until the parent closes the pipe."""
        while (message := self._await(lambda message: "name" in message, lambda: False)) is not None:
            self.call = message
            yield message

    def end_call(self) -> None:
        """The call is over; threads that still wait for an answer go on without one."""
        with self._turn:
            self.call = None
            self._turn.notify_all()

    def write(self, content: bytes) -> None:
        """Send a whole frame."""
        with self._writing:
            write_all(ANSWERS_FD, content)

    def say(self, message: dict[str, Any]) -> None:
        """Send a message of the call under way; nothing where there is none."""
        call = self.call
        if call is not None and not self.forked:
            self.write(frame({"call": call["call"], **message}))

    def ask(self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the server do one of its operations, and wait. Raises OperationFailed, or NotNow."""
        if self.forked:
            raise NotNow("the server can be asked by the script's own process only, not by one that it has forked off")
        with self._asking:
            if (call := self.call) is None:
                raise NotNow("the script has ended")
            self._asked += 1
            number = self._asked
            self.say({"ask": number, "operation": operation, "args": args, "kwargs": kwargs})
            message = self._await(lambda message: message.get("answer") == number, lambda: self.call is not call)
        if message is None:
            raise NotNow("the script or the server has ended")
        return _result(message)

    def abandon(self) -> None:
        """In a process that a script has forked off: it must not write where its parent does."""
        self.forked = True
        for descriptor in (CALLS_FD, ANSWERS_FD):
            os.close(descriptor)

    def _await(self, wanted: Callable[[dict[str, Any]], bool], over: Callable[[], bool]) -> dict[str, Any] | None:
        """The first message that is wanted; None when the wait is ``over`` or the parent has closed the pipe."""
        with self._turn:
            while not over():
                for message in self._arrived:
                    if wanted(message):
                        self._arrived.remove(message)
                        return message
                if self._closed:
                    return None
                if self._reads:
                    self._turn.wait()
                else:
                    self._read()
        return None

    def _read(self) -> None:
        """Take what comes next, for all threads; the turn is others' meanwhile."""
        self._reads = True
        self._turn.release()
        try:
            piece = os.read(CALLS_FD, _PIECE)
        finally:
            self._turn.acquire()
            self._reads = False
            self._turn.notify_all()
        self._closed = not piece
        # An answer to what an earlier thread has asked and does not wait for any more is nobody's.
        self._arrived += [each for each in self._frames.feed(piece) if each.get("answer", self._asked) == self._asked]


def _result(message: dict[str, Any]) -> Any:
    if "error" in message:
        raise OperationFailed(message["error"], message["kind"])
    return message["ok"]


def write_all(descriptor: int, content: bytes) -> None:
    """Write to a pipe that blocks, however much it takes at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
