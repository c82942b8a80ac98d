"""Whatever pilots of a jobset do, and however their calls meet at two servers: no range is lost, none is done twice."""

from __future__ import annotations

import itertools
from typing import Any

from event_ranges import FILE, end, make_consumer, make_ranges, ranges, run, said
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import blockingCallFromThread, deferToThread

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.domain.event_requests import RangeRequest
from pandatx.services.events import Events
from pandatx.store.database import Database
from pandatx.store.events import Range

SENT, FINISHED, DONE, FAILED = 1, 3, 6, 7


def wait(coroutine: Any) -> Any:
    """From the thread that Hypothesis runs in."""
    return blockingCallFromThread(reactor, Deferred.fromCoroutine, coroutine)


N, ATTEMPTS = 6, 2


class Pilots(RuleBasedStateMachine):
    """Pilots of one jobset: they take ranges, say how they ended, and die; new ones come."""

    database: Database
    other: Database
    tasks: Any

    @initialize()
    def begin(self) -> None:
        wait(run(self.database, "TRUNCATE {panda}.jobsactive4, {panda}.jobparamstable; SELECT 1"))
        self.events = Events(self.database, Clock(reactor))
        self.elsewhere = Events(self.other, Clock(reactor))
        self.task = next(self.tasks)
        wait(make_ranges(self.database, N, task=self.task, jobset=self.task * 10_000, attempts=ATTEMPTS))
        self.alive: list[int] = []
        self.last = self.task * 10_000
        self.held: dict[int, dict[int, Any]] = {}
        self.given: set[tuple[int, int]] = set()
        self.finished: set[int] = set()
        for _ in range(2):
            self.new()

    def new(self) -> None:
        self.last += 1
        wait(make_consumer(self.database, self.last, jeditaskid=self.task, jobsetid=self.task * 10_000))
        self.alive.append(self.last)
        self.held[self.last] = {}

    def ask(self, job: int, n: int) -> Any:
        return Deferred.fromCoroutine(
            self.events.take(RangeRequest(job_id=job, jobset_id=self.task * 10_000, task_id=self.task, n_ranges=n))
        )

    def got(self, job: int, found: list[Range]) -> None:
        for each in found:
            key = (each.id.process_id, each.id.attempt_nr)
            assert key not in self.given, "given twice in one attempt"
            assert each.id.process_id not in self.finished
            self.given.add(key)
            self.held[job][each.id.process_id] = each.id

    @rule(which=st.integers(0, 1), n=st.integers(0, 4))
    def one_asks(self, which: int, n: int) -> None:
        job = self.alive[which]
        self.got(job, blockingCallFromThread(reactor, self.ask, job, n))

    @rule(n=st.integers(1, 4))
    def both_ask_at_once(self, n: int) -> None:
        found = blockingCallFromThread(reactor, lambda: gatherResults([self.ask(job, n) for job in self.alive]))
        for job, ranges_ in zip(self.alive, found, strict=True):
            self.got(job, ranges_)

    @rule(which=st.integers(0, 1), status=st.sampled_from(("finished", "failed", "running")), most=st.integers(1, 4))
    def one_says(self, which: int, status: str, most: int) -> None:
        job = self.alive[which]
        names = list(self.held[job].items())[:most]
        wait(self.events.update(said(status, *(name for _, name in names)), 0))
        for process, _ in names if status != "running" else ():
            del self.held[job][process]
            if status == "finished":
                self.finished.add(process)

    @rule(which=st.integers(0, 1), status=st.sampled_from(("finished", "failed")))
    def one_ends_and_another_comes(self, which: int, status: str) -> None:
        job = self.alive.pop(which)
        wait(end(self.database, job, status))
        del self.held[job]
        self.new()

    @rule(which=st.integers(0, 1), status=st.sampled_from(("finished", "failed")), n=st.integers(0, 3))
    def one_ends_while_it_asks_and_says_elsewhere(self, which: int, status: str, n: int) -> None:
        job = self.alive.pop(which)
        held = dict(self.held.pop(job))
        asked, judged, _ = blockingCallFromThread(
            reactor,
            lambda: gatherResults(
                [
                    self.ask(job, n),
                    Deferred.fromCoroutine(self.elsewhere.update(said("finished", *held.values()), 0)),
                    Deferred.fromCoroutine(end(self.database, job, status)),
                ]
            ),
        )
        for each in asked:
            key = (each.id.process_id, each.id.attempt_nr)
            assert key not in self.given, "given twice in one attempt"
            self.given.add(key)
        taken = zip(held, judged.returns, strict=True)
        self.finished |= {process for process, was_taken in taken if was_taken}
        self.new()

    @rule()
    def all_is_said_again(self) -> None:
        """Late, and the other way round: what ended stays as it ended, what others have is not touched."""
        before = wait(ranges(self.database))
        names = [f"{self.task}-{job}-{FILE}-{process}-{attempt}" for job in self.gone for process in range(1, N + 1)
                 for attempt in (1, 2)]  # fmt: skip
        for status in ("failed", "finished"):
            judged = wait(self.events.update(said(status, *names), 0))
            assert not any(judged.returns)
        assert wait(ranges(self.database)) == before

    @property
    def gone(self) -> range:
        return range(self.task * 10_000 + 1, min([*self.alive, self.last + 1]))

    @invariant()
    def none_is_lost_and_none_is_twice(self) -> None:
        if not hasattr(self, "task"):
            return
        rows = wait(
            run(
                self.database,
                "SELECT job_processid, pandaid, status, attemptnr FROM {panda}.jedi_events WHERE jeditaskid = %(t)s",
                t=self.task,
            )
        )
        for process in range(1, N + 1):
            mine = [row for row in rows if row[0] == process]
            alive = [row for row in mine if row[2] != FAILED]
            failed_here = [row for row in mine if row[2] == FAILED and row[1] in self.alive]
            assert len(alive) + len(failed_here) == 1, mine
            if process in self.finished:
                assert alive[0][2] in (FINISHED, DONE)
            holders = [job for job, held in self.held.items() if process in held]
            assert len(holders) <= 1
            assert not holders or (alive[0][1], alive[0][2]) == (holders[0], SENT)
            assert all(0 <= row[3] <= ATTEMPTS for row in mine)


async def test_no_range_is_given_twice_in_an_attempt_and_none_is_lost(database):
    other = Database(name="other", conninfo=database.conninfo, clock=Clock(reactor), schemas=Schemas(), size=2)
    other.start()
    await run(other, "SELECT 1")
    machine = type("Machine", (Pilots,), {"database": database, "other": other, "tasks": itertools.count(1)})
    how = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    await deferToThread(run_state_machine_as_test, machine, settings=how)
    await other.stop()
