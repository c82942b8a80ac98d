"""Giving activated jobs to the pilots that ask for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

from attrs import Factory, define, evolve, field, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.fit import LABEL_CLASSES, Key, Mark, Want, key_of, mark_of
from pandatx.domain.job import Job
from pandatx.domain.labels import accepted, counts_sent
from pandatx.domain.pilot_job import Extras
from pandatx.domain.queues import Queue
from pandatx.domain.requests import JobRequest
from pandatx.domain.summary import QueueSummary, Ticket
from pandatx.errors import DatabaseAway, RoleRequired
from pandatx.identity.names import compact_name
from pandatx.metrics import JOBS_GIVEN_BACK, JOBS_SENT
from pandatx.services.batching import Batcher
from pandatx.services.facts import Facts
from pandatx.store import dispatch as store
from pandatx.store.database import Database, Transaction
from pandatx.store.dispatch import Claimed, Group, Slot

log = Logger()

SUMMARY_AGE: Final = timedelta(seconds=1)
"""How old a queue's summary may be for a claim; before "no jobs" is said it is read again."""
KEYS: Final = 16
"""Keys in one claim of a want; all of a queue's would cost twice as much (reference/database.md 1.3)."""
ROUNDS: Final = 64
"""Claims of one want at the most: a queue with very many keys, none of which gives a job."""
MOST_JOBS: Final = 100
"""Jobs for one request."""
PATIENCE: Final = 20.0
"""Seconds that getJob waits for a connection to the database (rule R15)."""
SENT_WINDOW: Final = 60.0
"""Seconds over which nSent counts."""
NO_ROLE: Final = "no production/pilot role in VOMS FQANs or non pilot owner"

_WHOLE: Final = {
    number: frozenset(label for label, of in LABEL_CLASSES.items() if of == number)
    for number in set(LABEL_CLASSES.values())
}


@frozen(kw_only=True)
class Acquired:
    """Jobs for one request, ``sent`` and committed; ``n_sent`` counts those sent to the queue in the last minute.

    ``secrets`` are those of the owners whose jobs use them (tag us), by the owner's name.
    """

    jobs: tuple[Job, ...] = ()
    n_sent: int = 0
    claimed_at: datetime | None = None
    secrets: Mapping[str, str] = Factory(dict)
    pilot_secrets: str | None = None

    def extras(self, job: Job, proxy_key: bool = False) -> Extras:
        """What of this a job's description needs."""
        secrets = self.secrets.get(job.prod_user_name or "")
        return Extras(n_sent=self.n_sent, secrets=secrets, pilot_secrets=self.pilot_secrets, proxy_key=proxy_key)


@define(eq=False)
class _Asking:
    """A request in the line, and what it has got so far."""

    queue: str
    want: Want
    slot: Slot
    n: int
    oldest_first: bool
    counts_sent: bool
    gone: Callable[[], bool]
    got: list[Job] = Factory(list)

    @property
    def missing(self) -> int:
        return self.n - len(self.got)


@define(eq=False)
class _Served:
    """Requests that want the same, a slot for each job; ``claimed`` is counted by these slots."""

    group: Group
    owners: list[_Asking]
    oldest_first: bool
    claimed: list[Claimed] = Factory(list)

    @property
    def simple(self) -> bool:
        return not self.oldest_first and _plain(self.group.want)


@define(eq=False)
class Dispatch:
    """Hand over activated jobs, each to one pilot; what a pilot is told was committed before."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _hot_timeout: float = 10.0
    _random: Random = Factory(Random)
    _summaries: dict[str, QueueSummary] = field(factory=dict)
    _took: dict[str, timedelta] = field(factory=dict)
    _sent: dict[str, deque[float]] = field(factory=dict)
    _doubtful: list[tuple[datetime, list[Job]]] = field(factory=list)
    _line: Batcher[_Asking, Acquired] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._line = Batcher(self._serve, largest=200)

    async def acquire(self, caller: Caller, request: JobRequest, gone: Callable[[], bool] = lambda: False) -> Acquired:
        """Up to ``n_jobs`` jobs of a queue that fit the pilot; they are then ``sent``.

        A caller without the role may ask for its own jobs of label user only (reference/lifecycle.md 6.1). A request
        whose client is ``gone`` before its claim began is dropped. Raises RoleRequired, Busy, DatabaseAway.
        """
        if not caller.reports and request.prod_source_label != "user":
            raise RoleRequired(NO_ROLE)
        if request.timeout <= 10:  # the time budget of reference/wire.md 2.1.1: none is left to look for a job
            return Acquired()
        return await self._line.submit(self._asking(caller, request, gone))

    async def give_back(self, acquired: Acquired) -> None:
        """Activate again the jobs of an answer of which no byte has left the server (rule R3)."""
        if not acquired.jobs or acquired.claimed_at is None:
            return
        back = await self._database.transaction(
            "dispatch.give_back", self._give_back, acquired.jobs, acquired.claimed_at
        )
        self.activated(back)
        JOBS_GIVEN_BACK.inc(len(back))
        log.info("gave back {n} jobs whose answer was not delivered", n=len(back))

    def activated(self, jobs: Iterable[Job]) -> None:
        """These jobs have just been activated and committed."""
        for job in jobs:
            if (summary := self._summaries.get(job.computing_site or "")) is not None:
                summary.activated(key_of(job), job.current_priority, job.panda_id, job)

    def _asking(self, caller: Caller, request: JobRequest, gone: Callable[[], bool]) -> _Asking:
        queue = self._facts.queue(request.site_name)
        user = request.prod_user_id and compact_name(request.prod_user_id)
        if not caller.reports:
            user = caller.name
        ratio = self._facts.known.parameters.get("jobdispatch", "SLOPPY_DISPATCH_RATIO", 10) or 10
        scheduler = request.scheduler_id
        return _Asking(
            queue=request.site_name,
            want=Want(
                labels=accepted(request.prod_source_label, request.computing_element, request.job_type, queue),
                memory=request.memory,
                disk=request.disk_space,
                walltime=request.remaining_time,
                resource_type=request.resource_type,
                user=user or None,
                task_id=request.task_id,
                background=request.background is True,
                ram_per_core=self._mean_rss_limit(queue),
            ),
            slot=Slot(
                node=(request.node or "")[:128] or None,
                computing_element=(request.computing_element or "")[:128] or None,
                scheduler_id=(scheduler or "")[:128] or None,
                harvester_id=request.harvester_id,
                worker_id=request.worker_id if request.harvester_id else None,
            ),
            n=max(1, min(request.n_jobs or 1, MOST_JOBS)),
            oldest_first=self._random.randrange(100) <= ratio,
            counts_sent=counts_sent(request.prod_source_label),
            gone=gone,
        )

    def _mean_rss_limit(self, queue: Queue | None) -> float | None:
        """MB per core for a pushed queue whose running jobs use more than they should (reference/lifecycle.md 6.2)."""
        if queue is None or not queue.pushed or not queue.mean_rss:
            return None
        known = self._facts.known
        if known.parameters.get("meanrss", "IGNORE_MEANRSS", False):
            return None
        return queue.mean_rss if known.memory_per_core.get(queue.name, 0.0) > queue.mean_rss else None

    async def _serve(self, line: list[_Asking]) -> list[Acquired | Exception]:
        """Serve those that wait together, in rounds until everybody has a job or no key is left to look in."""
        fresh: set[str] = set()
        fault: Exception | None = None
        try:
            await self._settle_doubts()
            await self._freshen({a.queue for a in line if self._is_old(a.queue)}, fresh)
            for _ in range(ROUNDS):
                open_ = [asking for asking in line if asking.missing and not asking.gone()]
                if not open_ or not await self._round(open_, fresh):
                    break
        except DatabaseAway as error:
            fault = error
        return await self._answers(line, fault)

    async def _answers(self, line: Sequence[_Asking], fault: Exception | None) -> list[Acquired | Exception]:
        got_all = [job for asking in line for job in asking.got]
        whole = await store.complete(self._database, got_all) if got_all else []
        jobs = {job.panda_id: job for job in whole}
        secrets = await self._secrets(whole)
        if jobs:
            JOBS_SENT.inc(len(jobs))
            sent = " ".join(f"{job.panda_id}@{job.computing_site}" for job in whole)
            log.info("sent {n} jobs: {sent}", n=len(jobs), sent=sent)
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
                    secrets=secrets,
                    pilot_secrets=self._facts.known.pilot_secrets,
                )
            )
        return answers

    async def _secrets(self, jobs: Iterable[Job]) -> dict[str, str]:
        owners = {job.prod_user_name or "" for job in jobs if "us" in (job.special_handling or "").split(",")}
        return await store.secrets(self._database, sorted(owners)) if owners else {}

    async def _round(self, open_: Sequence[_Asking], fresh: set[str]) -> bool:
        """One claim for everybody that has keys to look in; whether another round is worth while.

        Before a queue is said to have nothing, its summary is read once more than was begun with.
        """
        groups = self._groups(open_)
        if not groups:
            stale = {asking.queue for asking in open_} - fresh
            await self._freshen(stale, fresh)
            return bool(stale)
        now = self._clock.now()
        tickets = {served.group.queue: self._summary(served.group.queue).ticket() for served in groups}
        await self._database.limited("dispatch.claim", self._hot_timeout, PATIENCE, self._claim, groups, now)
        self._doubtful.clear()
        for served in groups:
            self._settle(served, tickets[served.group.queue], now)
        return True

    def _groups(self, open_: Sequence[_Asking]) -> list[_Served]:
        """Pilots that want the same, together; those whose want has no key left to look in are left out."""
        alike: dict[tuple[str, Want, bool], list[_Asking]] = {}
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

    async def _claim(self, tx: Transaction, groups: Sequence[_Served], now: datetime) -> None:
        """Claim for each group, as many as can be in one statement: a second statement sees what the first has taken,
        within one statement two wants on a queue would get the same rows."""
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
        self._doubtful.append((now, [one.job for served in groups for one in served.claimed]))

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
            served.owners[one.slot].got.append(one.job)
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

    async def _settle_doubts(self) -> None:
        """Give back what a claim took whose commit nobody could be asked about (rule R3)."""
        while self._doubtful:
            claimed_at, jobs = self._doubtful[0]
            self.activated(await self._database.transaction("dispatch.give_back", self._give_back, jobs, claimed_at))
            self._doubtful.pop(0)

    async def _give_back(self, tx: Transaction, jobs: Sequence[Job], claimed_at: datetime) -> list[Job]:
        back = set((await store.give_back(tx, jobs, claimed_at, self._clock.now())).column("pandaid"))
        return [job for job in jobs if job.panda_id in back]

    def _summary(self, queue: str) -> QueueSummary:
        if (found := self._summaries.get(queue)) is None:
            found = self._summaries[queue] = QueueSummary()
        return found

    def _is_old(self, queue: str) -> bool:
        """Older than a second, and than twenty times what reading it takes."""
        return self._summary(queue).age(self._clock.now()) > max(SUMMARY_AGE, 20 * self._took.get(queue, timedelta(0)))

    async def _freshen(self, queues: Iterable[str], fresh: set[str]) -> None:
        await gatherResults([Deferred.fromCoroutine(self._read(queue)) for queue in sorted(queues)], consumeErrors=True)
        fresh.update(queues)

    async def _read(self, queue: str) -> None:
        summary, began = self._summary(queue), self._clock.now()
        ticket = summary.ticket()
        rows = await store.summary(self._database, queue)
        summary.replace(rows, self._clock.now(), ticket)
        self._took[queue] = self._clock.now() - began

    def _count_sent(self, asking: _Asking) -> int:
        """nSent: managed and test jobs that this server sent to the queue within a minute, where the label asks for it."""
        sent, now = self._sent.setdefault(asking.queue, deque()), self._clock.seconds()
        sent.extend(now for job in asking.got if job.prod_source_label in ("managed", "test"))
        while sent and sent[0] < now - SENT_WINDOW:
            sent.popleft()
        return len(sent) if asking.counts_sent else 0


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
