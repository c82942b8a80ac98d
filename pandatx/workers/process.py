"""The parent's side of one child: start it, hand it a call, hear its answer and its output, kill it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from attrs import define, field
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pandatx.workers import family
from pandatx.workers.calls import Call, CallDied, CallError, CallFailed, CallTimedOut
from pandatx.workers.child import LEVEL_VARIABLE, PARENT_VARIABLE
from pandatx.workers.grants import Grants, Requests
from pandatx.workers.lines import Lines
from pandatx.workers.output import STDERR, STDOUT, Budget, Output
from pandatx.workers.protocol import ANSWERS_FD, CALLS_FD, Frames, frame, mark
from pandatx.workers.user import ChildUser

START_LIMIT = 30.0
RETIRE_LIMIT = 5.0
LINGER = 1.0
LONGEST_APPLICATION_NAME = 63
TURN, GULP = 0.1, 1 << 20
"""Bytes that are read of what a child says, and seconds until so many more are."""
A_RECORD = 1024
"""Bytes that a record of its logging counts beside its text."""

log = Logger()


class Watcher(Protocol):
    """Who is told of a child's life: the pool."""

    def child_ready(self, child: Child) -> None: ...

    def child_free(self, child: Child) -> None: ...

    def child_gone(self, child: Child, call: Call | None, fault: CallError) -> None: ...

    def budget_of(self, script: str) -> Budget: ...


@define(eq=False, slots=False)
class Child(ProcessProtocol):
    """One process of the pool. It runs at most one call at a time."""

    _reactor: Any
    _watcher: Watcher
    _instance: str
    _grants: Callable[[], Grants]
    ready: bool = field(init=False, default=False)
    leaving: bool = field(init=False, default=False)
    old: bool = field(init=False, default=False)
    ageing: Any = field(init=False, default=None)
    """The pool's timer of its lifetime."""
    memory_mb: float = field(init=False, default=0.0)
    call: Call | None = field(init=False, default=None)
    pid: int = field(init=False, default=0)
    transport: Any = field(init=False)
    _calls: int = field(init=False, default=0)
    _turn: float = field(init=False, default=0.0)
    _drunk: int = field(init=False, default=0)
    _held_up: bool = field(init=False, default=False)
    _answer: dict[str, Any] | None = field(init=False, default=None)
    _verdict: CallError | None = field(init=False, default=None)
    _frames: Frames = field(init=False, factory=Frames)
    _said: Output = field(init=False)
    _output: Lines = field(init=False)
    _errors: Lines = field(init=False)
    _requests: Requests = field(init=False)
    _limit: Any = field(init=False, default=None)

    def start(self, environment: Mapping[str, str], user: ChildUser | None, log_level: str) -> None:
        """Begin the process. Raises OSError when that is impossible."""
        self._said = Output(self._watcher.budget_of)
        self._output = Lines(self._said.stream(STDOUT))
        self._errors = Lines(self._said.stream(STDERR))
        self._requests = Requests(self._grants, lambda message: self.transport.writeToChild(CALLS_FD, frame(message)))
        environment = {**environment, PARENT_VARIABLE: str(os.getpid()), LEVEL_VARIABLE: log_level}
        if user:
            environment = {"HOME": user.home, **environment, "USER": user.name, "LOGNAME": user.name}
        self._reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-P", "-m", "pandatx.workers.child"],
            env=environment,
            uid=user.uid if user else None,
            gid=user.gid if user else None,
            childFDs={0: "w", 1: "r", 2: "r", CALLS_FD: "w", ANSWERS_FD: "r"},
        )
        self._watch_clock(START_LIMIT)

    @property
    def idle(self) -> bool:
        """Whether it would take a call now."""
        return self.ready and self.call is None and not self.leaving

    def begin(self, call: Call) -> None:
        """Run a call; the child must be idle."""
        self._calls += 1
        self.call, self._answer = call, None
        call.application = f"pandatx-child-{self.pid}-{self._instance}"[:LONGEST_APPLICATION_NAME]
        self._said.begin(call.label, call.name, call.script)
        for stream in (self._output, self._errors):
            stream.expect(mark(self._calls))
        message = {
            "call": self._calls,
            "name": call.name,
            "args": orjson.Fragment(call.arguments),
            "application": f"{call.application}-{self._calls}"[:LONGEST_APPLICATION_NAME],
        }
        if call.script:
            message["script"] = self._grants().told()
        self.transport.writeToChild(CALLS_FD, frame(message))
        self._watch_clock(call.timeout)

    def retire(self) -> None:
        """Let an idle child end by itself; one that does not is killed."""
        if self.leaving:
            return
        self.leaving = True
        self.transport.closeChildFD(CALLS_FD)
        self._watch_clock(RETIRE_LIMIT)

    def kill(self, verdict: CallError | None = None) -> None:
        """SIGKILL the child and all that it has started; ``verdict`` is what its caller gets."""
        self._verdict = self._verdict or verdict
        if self.pid and self.transport.pid is None:
            return  # it has ended and its number may be another's; the call is over once its pipes are closed
        self.leaving = True
        self._stop_clock()
        self._requests.drop()
        if self.pid:
            family.kill_family(self.pid)

    # What Twisted calls.

    def connectionMade(self) -> None:
        self.pid = self._said.pid = self.transport.pid or 0
        self.transport.closeChildFD(0)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == ANSWERS_FD:
            self._hear(data)
        else:
            (self._output if childFD == 1 else self._errors).feed(data)
            self._drink(len(data))
        self._finish()

    def processExited(self, reason: Failure) -> None:
        self.leaving = True
        self._stop_clock()
        self._requests.drop()
        # What it had started goes with it; and somebody outside its group may hold the pipes, so they get an end too.
        family.kill_group(self.pid)
        self._limit = self._reactor.callLater(LINGER, self._close_pipes)

    def processEnded(self, reason: Failure) -> None:
        self._stop_clock()
        self._output.close()
        self._errors.close()
        self._said.end()
        call, self.call = self.call, None
        self._watcher.child_gone(self, call, self._verdict or CallDied(_how(reason)))

    # Own.

    def _hear(self, data: bytes) -> None:
        try:
            messages = self._frames.feed(data)
        except ValueError:
            # Something in the child has written to a pipe that is not its own.
            self.kill(CallDied("its process sent what is no answer, and was killed"))
            return
        for message in messages:
            self._take(message)
        self._said.flush()

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.ready = True
            self._stop_clock()
            self._watcher.child_ready(self)
        elif self.call is None or message["call"] != self._calls:
            return
        elif "log" in message:
            self._said.recorded(message["log"], message["logger"], message["text"])
            self._drink(A_RECORD + len(message["text"]))
        elif "ask" in message:
            self._requests.begin(message)
        else:
            self._answer = message
            self.memory_mb = message["memory"]

    def _drink(self, size: int) -> None:
        """A child that says more than the reactor should read waits for the rest of the turn."""
        now = self._reactor.seconds()
        if now - self._turn >= TURN:
            self._turn, self._drunk = now, 0
        self._drunk += size
        if self._drunk > GULP and not self._held_up:
            self._held_up = True
            self.transport.pauseProducing()
            self._reactor.callLater(TURN, self._go_on)

    def _go_on(self) -> None:
        self._held_up = False
        self.transport.resumeProducing()

    def _finish(self) -> None:
        """End the call when its answer is there and all it printed has been logged under its name."""
        call, answer = self.call, self._answer
        if call is None or answer is None or self._verdict or not (self._output.ended and self._errors.ended):
            return
        self._stop_clock()
        self._requests.drop()
        self._said.end()
        self.call = self._answer = None
        self._watcher.child_free(self)
        if "error" in answer:
            call.outcome.errback(CallFailed(answer["error"], answer["traceback"]))
        else:
            call.outcome.callback(answer["ok"])

    def _overdue(self) -> None:
        self._limit = None
        call = self.call
        if call:
            limit = round(call.timeout, 2)
            log.warn("{label}: killed after {limit:g} s", label=call.label, limit=limit, call=call.name)
            self.kill(CallTimedOut(f"{call.label} took more than {limit:g} s and was killed"))
        else:
            log.warn("child {pid} neither starts nor ends: killed", pid=self.pid)
            self.kill()

    def _watch_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._limit = self._reactor.callLater(seconds, self._overdue)

    def _stop_clock(self) -> None:
        limit, self._limit = self._limit, None
        if limit is not None and limit.active():
            limit.cancel()

    def _close_pipes(self) -> None:
        for descriptor in (0, 1, 2, CALLS_FD, ANSWERS_FD):
            self.transport.closeChildFD(descriptor)


def _how(reason: Failure) -> str:
    if isinstance(reason.value, ProcessDone):
        return "its process ended in the middle of the call"
    ended: Any = reason.value
    if getattr(ended, "signal", None):
        return f"its process was killed by signal {ended.signal}"
    return f"its process ended with exit code {getattr(ended, 'exitCode', '?')}"
