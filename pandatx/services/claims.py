"""The line of those that ask for jobs: one claim serves all that wait (reference/database.md 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import psycopg2
from attrs import Factory, define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.fit import LABEL_CLASSES, Key, Mark, Want, key_of, mark_of
from pandatx.domain.job import Job
from pandatx.domain.pilot_job import Extras
from pandatx.domain.summary import QueueSummary, Ticket
from pandatx.errors import BadRequest, Busy, PandaError
from pandatx.metrics import BATCH_ROWS, JOBS_SENT
from pandatx.services.batching import Batcher
from pandatx.services.facts import Facts
from pandatx.store import dispatch as store
from pandatx.store import jedi
from pandatx.store.database import Database, OutcomeUnknown, Transaction
from pandatx.store.dispatch import Claimed, Group, Slot

log = Logger()

SUMMARY_AGE: Final = timedelta(seconds=1)
"""How old a queue's summary may be for a claim; before "no jobs" is said it is read again."""
KEYS: Final = 16
"""Keys in one claim of a want; all of a queue's would cost twice as much (reference/database.md 1.3)."""
ROUNDS: Final = 64
"""Claims of one want at the most: a queue with very many keys, none of which gives a job."""
PATIENCE: Final = 20.0
"""Seconds that getJob waits for a connection to the database (rule R15), the time in the line included."""
LAST_PATIENCE: Final = 0.5
"""What is left of it for those that have waited so long already."""
MOST_QUEUES: Final = 5000
"""Queues that are remembered; when pilots have made up more names than that, all are forgotten."""
SENT_WINDOW: Final = 60.0
"""Seconds over which nSent counts."""

_WHOLE: Final = {
    number: frozenset(label for label, of in LABEL_CLASSES.items() if of == number)
    for number in set(LABEL_CLASSES.values())
}


@frozen(kw_only=True)
class Acquired:
    """Jobs for one request, ``sent`` and committed; ``n_sent`` counts those sent to the queue in the last minute.

    ``io``: how much their tasks read and write, and the unit, by PandaID. ``secrets`` are those of the owners whose
    jobs use them (tag us), by the owner's name.
    """

    jobs: tuple[Job, ...] = ()
    n_sent: int = 0
    claimed_at: datetime | None = None
    io: Mapping[int, tuple[int | None, str | None]] = field(factory=dict)
    secrets: Mapping[str, str] = field(factory=dict, repr=False)
    pilot_secrets: str | None = field(default=None, repr=False)

    def extras(self, job: Job, proxy_key: bool = False) -> Extras:
        """What of this a job's description needs."""
        intensity, unit = self.io.get(job.panda_id, (None, None))
        return Extras(
            n_sent=self.n_sent,
            secrets=self.secrets.get(job.prod_user_name or ""),
            pilot_secrets=self.pilot_secrets,
            io_intensity=intensity,
            io_intensity_unit=unit,
            proxy_key=proxy_key,
        )


@define(eq=False)
class Asking:
    """A request in the line, and what it has got so far."""

    queue: str
    want: Want
    slot: Slot
    n: int
    counts_sent: bool
    gone: Callable[[], bool]
    since: float
    oldest_first: bool = False
    got: list[Job] = Factory(list)
    io: dict[int, tuple[int | None, str | None]] = Factory(dict)

    @property
    def missing(self) -> int:
        return self.n - len(self.got)


@define(eq=False)
class _Served:
    """Requests that want the same, a slot for each job; ``claimed`` is counted by these slots."""

    group: Group
    owners: list[Asking]
    oldest_first: bool
    claimed: list[Claimed] = Factory(list)

    @property
    def simple(self) -> bool:
        return not self.oldest_first and _plain(self.group.want)


@define(eq=False)
class Claims:
    """Serve requests in groups. What a request is answered with was committed before."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _hot_timeout: float
    _random: Random
    _summaries: dict[str, QueueSummary] = field(factory=dict)
    _took: dict[str, timedelta] = field(factory=dict)
    _sent: dict[str, deque[float]] = field(factory=dict)
    _doubtful: list[tuple[datetime, Sequence[Job]]] = field(factory=list)
    _line: Batcher[Asking, Acquired] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._line = Batcher(self._serve, largest=200)

    def submit(self, asking: Asking) -> Deferred[Acquired]:
        """Wait in the line; fires with what there is for the request."""
        return self._line.submit(asking)

    async def give_back(self, jobs: Sequence[Job], claimed_at: datetime) -> int:
        """Activate the jobs of a claim again, where nothing has touched them since; how many (rule R3).

        Where the database does not let us now, ``settle`` will.
        """
        try:
            return await self._return(jobs, claimed_at, PATIENCE)
        except Busy:
            self._doubtful.append((claimed_at, jobs))
            raise

    async def settle(self, patience: float = PATIENCE) -> None:
        """Give back what was claimed in vain: nobody knows how a commit ended, or files could not be read.

        Called now and then, and before each claim, which waits no longer than ``patience`` for a session.
        Raises DatabaseAway, Busy, and forgets nothing then.
        """
        doubts, self._doubtful = self._doubtful, []
        try:
            while doubts:
                claimed_at, jobs = doubts[0]
                await self._return(jobs, claimed_at, patience)
                doubts.pop(0)
        finally:
            self._doubtful += doubts

    def activated(self, jobs: Iterable[Job]) -> None:
        """These jobs have just been activated and committed."""
        for job in jobs:
            if (summary := self._summaries.get(job.computing_site or "")) is not None:
                summary.activated(key_of(job), job.current_priority, job.panda_id, job)

    async def _serve(self, line: list[Asking]) -> list[Acquired | Exception]:
        """Serve those that wait together, in rounds until everybody has a job or no key is left to look in."""
        if len(self._summaries) > MOST_QUEUES:
            for known in (self._summaries, self._took, self._sent):
                known.clear()
        fresh: set[str] = set()
        fault: Exception | None = None
        sloppy = self._is_sloppy()
        for asking in line:
            asking.oldest_first = sloppy
        try:
            await self.settle(self._patience(line))
            await self._freshen({a.queue for a in line if self._is_old(a.queue)}, fresh, self._patience(line))
            for _ in range(ROUNDS):
                open_ = [asking for asking in line if asking.missing and not asking.gone()]
                if not open_ or not await self._round(open_, fresh):
                    break
        except PandaError as error:
            fault = error
        except (psycopg2.DataError, ValueError) as error:  # a value that no column takes
            if len(line) > 1:  # fails alone
                return [(await self._serve([asking]))[0] for asking in line]
            log.error("a request for jobs is refused: {error}", error=str(error).strip())
            fault = BadRequest("request", "it has a value that cannot be looked for")
        except psycopg2.Error as error:  # no reason to end a pilot (R15)
            log.error("a claim failed: {error}", error=str(error).strip())
            fault = Busy()
        BATCH_ROWS.labels("dispatch.claim").observe(len(line))
        return await self._answers(line, fault)

    def _is_sloppy(self) -> bool:
        """Whether these are served oldest first (reference/lifecycle.md 6.3). Drawn once for all that wait together:
        each call has the same chance, and one statement serves them."""
        ratio = self._facts.known.parameters.get("jobdispatch", "SLOPPY_DISPATCH_RATIO", 10) or 10
        return self._random.randrange(100) <= ratio

    async def _answers(self, line: Sequence[Asking], fault: Exception | None) -> list[Acquired | Exception]:
        """Complete the jobs with their files; where that fails they are given back, never stranded (trap 14)."""
        sent = [job for asking in line for job in asking.got]
        try:
            whole = await store.complete(self._database, sent, self._hot_timeout) if sent else []
            secrets = await self._secrets(whole)
        except (PandaError, psycopg2.Error) as error:
            log.error("{n} jobs are given back: {error}", n=len(sent), error=str(error).strip())
            self._doubtful += [(job.start_time, [job]) for job in sent if job.start_time is not None]
            return [Busy() for _ in line]
        jobs = {job.panda_id: job for job in whole}
        if jobs:
            JOBS_SENT.inc(len(jobs))
            text = " ".join(f"{job.panda_id}@{job.computing_site}" for job in whole)
            log.info("sent {n} jobs: {jobs}", n=len(jobs), jobs=text)
        answers: list[Acquired | Exception] = []
        for asking in line:
            if not asking.got:
                answers.append(Acquired() if fault is None else fault)
                continue
            got = tuple(jobs[job.panda_id] for job in asking.got)
            answers.append(
                Acquired(
                    jobs=got,
                    n_sent=self._count_sent(asking),
                    claimed_at=got[0].start_time,
                    io=asking.io,
                    secrets=secrets,
                    pilot_secrets=self._facts.known.pilot_secrets,
                )
            )
        return answers

    async def _secrets(self, jobs: Iterable[Job]) -> dict[str, str]:
        owners = {job.prod_user_name or "" for job in jobs if "us" in (job.special_handling or "").split(",")}
        owners.discard(self._facts.secrets_owner)
        return await store.secrets(self._database, sorted(owners)) if owners else {}

    async def _round(self, open_: Sequence[Asking], fresh: set[str]) -> bool:
        """One claim for everybody that has keys to look in; whether another round is worth while.

        Before a queue is said to have nothing, its summary is read once more than was begun with.
        """
        groups = self._groups(open_)
        if not groups:
            stale = {asking.queue for asking in open_} - fresh
            await self._freshen(stale, fresh, self._patience(open_))
            return bool(stale)
        times: list[datetime] = []
        tickets = {served.group.queue: self._summary(served.group.queue).ticket() for served in groups}
        patience = self._patience(open_)
        try:
            await self._database.limited("dispatch.claim", self._hot_timeout, patience, self._claim, groups, times)
        except OutcomeUnknown:
            self._doubtful.append((times[-1], [one.job for served in groups for one in served.claimed]))
            raise
        for served in groups:
            self._settle(served, tickets[served.group.queue], times[-1])
        return True

    def _groups(self, open_: Sequence[Asking]) -> list[_Served]:
        """Pilots that want the same, together; those whose want has no key left to look in are left out."""
        alike: dict[tuple[str, Want, bool], list[Asking]] = {}
        for asking in open_:
            alike.setdefault((asking.queue, asking.want, asking.oldest_first), []).append(asking)
        ranks, now = self._facts.known.ranks, self._clock.now()
        groups = []
        for (queue, want, oldest), askings in alike.items():
            heads = self._summary(queue).keys_for(want, ranks, now, KEYS)
            if heads:
                owners = [asking for asking in askings for _ in range(asking.missing)]
                group = Group(queue=queue, want=want, slots=tuple(asking.slot for asking in owners), heads=tuple(heads))
                groups.append(_Served(group=group, owners=owners, oldest_first=oldest))
        return groups

    async def _claim(self, tx: Transaction, groups: Sequence[_Served], times: list[datetime]) -> None:
        """Claim for each group, as many as can be in one statement: a second statement sees what the first has taken,
        within one statement two wants on a queue would get the same rows.

        Its time, added to ``times``, is that of the claim and not of the asking: while pilots wait for a session, jobs
        may come that they then get.
        """
        now = self._clock.now()
        times.append(now)
        for served in groups:
            served.claimed = []
        for batch in _apart([served for served in groups if served.simple]):
            found = await store.claim(tx, [served.group for served in batch], now)
            first = 0
            for served in batch:
                n = len(served.owners)
                served.claimed = [evolve(one, slot=one.slot - first) for one in found if 0 <= one.slot - first < n]
                first += n
        for served in groups:
            if served.oldest_first and _plain(served.group.want):
                served.claimed = await store.claim_oldest(tx, served.group, now)
            elif not _plain(served.group.want):
                served.claimed = await store.claim_filtered(tx, served.group, now)
        await self._touch_workers(tx, groups, now)
        await jedi.follow(tx, _of_tasks(one.job for served in groups for one in served.claimed), "sent")

    async def _touch_workers(self, tx: Transaction, groups: Sequence[_Served], now: datetime) -> None:
        linked = [
            (served.group.queue, slot)
            for served in groups
            for one in served.claimed
            if (slot := served.group.slots[one.slot]).worker_id is not None
        ]
        if linked:
            await store.touch_workers(tx, linked, now)

    def _settle(self, served: _Served, ticket: Ticket, now: datetime) -> None:
        """Give the claimed jobs to those that asked, and tell the summary."""
        summary, want = self._summary(served.group.queue), served.group.want
        taken: dict[Key, list[Mark]] = {}
        for one in served.claimed:
            owner = served.owners[one.slot]
            owner.got.append(one.job)
            owner.io[one.job.panda_id] = one.io
            taken.setdefault(key_of(one.job), []).append(mark_of(one.job))
        if served.oldest_first:  # taken from the middle of the keys: their marks stay
            for asking in served.owners:
                asking.oldest_first = False
            return
        for key, marks in taken.items():
            summary.took(key, marks, want, ticket)
        if len(served.claimed) < len(served.owners):
            for head in served.group.heads:
                summary.gave_fewer(head.key, want, ticket, now)

    async def _return(self, jobs: Sequence[Job], claimed_at: datetime, patience: float) -> int:
        back = await self._database.limited(
            "dispatch.give_back", self._hot_timeout, patience, self._give_back, jobs, claimed_at
        )
        self.activated(back)
        return len(back)

    async def _give_back(self, tx: Transaction, jobs: Sequence[Job], claimed_at: datetime) -> list[Job]:
        back = set((await store.give_back(tx, jobs, claimed_at, self._clock.now())).column("pandaid"))
        await jedi.follow(tx, _of_tasks(job for job in jobs if job.panda_id in back), "activated")
        return [job for job in jobs if job.panda_id in back]

    def _summary(self, queue: str) -> QueueSummary:
        if (found := self._summaries.get(queue)) is None:
            found = self._summaries[queue] = QueueSummary()
        return found

    def _is_old(self, queue: str) -> bool:
        """Older than a second, and than twenty times what reading it takes."""
        return self._summary(queue).age(self._clock.now()) > max(SUMMARY_AGE, 20 * self._took.get(queue, timedelta(0)))

    def _patience(self, line: Iterable[Asking]) -> float:
        """Of those that wait together the one that has waited longest decides."""
        waited = self._clock.seconds() - min(asking.since for asking in line)
        return max(PATIENCE - waited, LAST_PATIENCE)

    async def _freshen(self, queues: Iterable[str], fresh: set[str], patience: float) -> None:
        reading = [Deferred.fromCoroutine(self._read(queue, patience)) for queue in sorted(queues)]
        outcomes: list[tuple[bool, Any]] = await DeferredList(reading, consumeErrors=True)
        for success, result in outcomes:
            if not success:
                result.raiseException()
        fresh.update(queues)

    async def _read(self, queue: str, patience: float) -> None:
        summary, began = self._summary(queue), self._clock.now()
        ticket = summary.ticket()
        rows = await store.summary(self._database, queue, self._hot_timeout, patience)
        summary.replace(rows, self._clock.now(), ticket)
        self._took[queue] = self._clock.now() - began

    def _count_sent(self, asking: Asking) -> int:
        """nSent: managed and test jobs that we sent to the queue in the last minute, if the label asks for it."""
        sent, now = self._sent.setdefault(asking.queue, deque()), self._clock.seconds()
        sent.extend(now for job in asking.got if job.prod_source_label in ("managed", "test"))
        while sent and sent[0] < now - SENT_WINDOW:
            sent.popleft()
        return len(sent) if asking.counts_sent else 0


def _of_tasks(jobs: Iterable[Job]) -> list[int]:
    return [job.panda_id for job in jobs if job.jedi_task_id is not None]


def _plain(want: Want) -> bool:
    """Whether a key shows all that the want asks, so that the hot statement can serve it."""
    labels = want.labels
    if want.narrow or labels.processing_types:
        return False
    classes = {LABEL_CLASSES.get(label) for label in labels.labels}
    return None not in classes and all(_WHOLE[number] <= labels.labels for number in classes if number is not None)


def _apart(groups: Sequence[_Served]) -> list[list[_Served]]:
    """Batches in which every queue stands once."""
    batches: list[list[_Served]] = []
    queues: list[set[str]] = []
    for served in groups:
        for batch, there in zip(batches, queues, strict=True):
            if served.group.queue not in there:
                batch.append(served)
                there.add(served.group.queue)
                break
        else:
            batches.append([served])
            queues.append({served.group.queue})
    return batches
