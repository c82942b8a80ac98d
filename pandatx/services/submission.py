"""Taking jobs from users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final
from uuid import uuid4

import psycopg2
from attrs import define, field, frozen
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.priority import Standing, standing
from pandatx.domain.queues import Queue
from pandatx.domain.submission import (
    USER_LABELS,
    Placement,
    UserIds,
    check,
    ids_needed,
    needs_user_counter,
    next_user_ids,
    placing,
)
from pandatx.errors import BadRequest, Banned, NameTaken, NotSecure, PandaError
from pandatx.services.batching import Batcher
from pandatx.services.facts import Facts
from pandatx.services.owners import Owners
from pandatx.store import submission as store
from pandatx.store.database import Database, Transaction
from pandatx.store.submission import Ids, Piece, UserRow

log = Logger()

AT_ONCE: Final = 50
"""Jobs that are worked on before others get the reactor."""
TOGETHER: Final = 1000
"""Jobs in one transaction, unless a submission has more."""
DISABLED: Final = "disabled"


@frozen(kw_only=True)
class Submitted:
    """A stored job, as its submitter is told of it."""

    panda_id: int
    job_definition_id: int
    jobset_id: int | None
    job_name: str | None


@frozen(kw_only=True)
class _Account:
    """What the user's row says of one submission."""

    user_ids: UserIds | None = None
    standing: Standing = Standing()


@frozen(kw_only=True)
class _Entry:
    """A submission that needs the user's row: its first counted job, if it has one."""

    caller: Caller
    counted: Job | None


@frozen(kw_only=True)
class _Rows:
    """A submission ready to be stored."""

    pieces: tuple[Piece, ...]
    n: int


async def _no_wait() -> None:
    """For a server whose setup is never behind."""


@define(eq=False)
class Submission:
    """Store jobs, all or none of a submission; those that wait together share a transaction.

    ``stored`` is called with the jobs after their commit, so that their setup begins; ``room`` is awaited before the
    answer, so that setup keeps up. ``node`` is this server's host.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _stored: Callable[[Sequence[Job]], None]
    _owners: Owners
    _node: str = "localhost"
    _room: Callable[[], Awaitable[None]] = _no_wait
    _ids: Ids = field(init=False)
    _accounts: Batcher[_Entry, _Account] = field(init=False)
    _line: Batcher[_Rows, None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ids = Ids(self._database)
        self._accounts = Batcher(self._settle_accounts, largest=200)
        self._line = Batcher(self._flush, largest=200)

    async def submit(self, caller: Caller, jobs: Sequence[Job], host: str) -> list[Submitted]:
        """Store the jobs as ``defined``; they are committed when this returns, and their setup begins.

        ``host`` is the caller's. Raises UnknownQueue, BadRequest and NotPermitted with the job and the field named
        (rules R19, R20), Banned for a disabled user, NameTaken for a name that is bound to another subject (R27).
        """
        if not caller.authenticated:
            raise NotSecure()
        if caller.name in self._facts.known.banned:
            raise Banned(caller.name)
        queues = self._facts.known.queues
        await self._check(caller, jobs, queues, await self._own_tasks(caller, jobs))
        account = await self._account(caller, jobs)
        n_jobs, n_files = ids_needed(jobs)
        panda_ids, row_ids = await self._ids.take(n_jobs, n_files)
        known = self._facts.known
        placement = Placement(
            caller=caller,
            host=host,
            node=self._node,
            queues=queues,
            shares=known.shares,
            resource_types=known.resource_types,
            panda_ids=panda_ids,
            row_ids=row_ids,
            guids=_guids(),
            user_ids=account.user_ids,
            standing=account.standing,
        )
        placed, pieces = await self._place(jobs, placement)
        await self._line.submit(_Rows(pieces=tuple(pieces), n=n_jobs))
        if placed:
            metrics.JOBS_SUBMITTED.inc(n_jobs)
            first, last = placed[0].panda_id, placed[-1].panda_id
            log.info("{user}: {n} jobs, {first} to {last}", user=caller.name, n=n_jobs, first=first, last=last)
            self._stored(placed)
            await self._room()
        return [
            Submitted(
                panda_id=job.panda_id,
                job_definition_id=job.job_definition_id,
                jobset_id=job.jobset_id,
                job_name=job.job_name,
            )
            for job in placed
        ]

    async def _own_tasks(self, caller: Caller, jobs: Sequence[Job]) -> frozenset[int]:
        """Those of the tasks that the jobs name and that are the caller's; with the production role nobody asks."""
        if caller.production:
            return frozenset()
        named = {job.jedi_task_id for job in jobs if job.jedi_task_id is not None}
        return await store.tasks_of(self._database, caller.name, sorted(named)) if named else frozenset()

    async def _check(
        self, caller: Caller, jobs: Sequence[Job], queues: Mapping[str, Queue], tasks: frozenset[int]
    ) -> None:
        for first in range(0, len(jobs), AT_ONCE):
            if first:
                await self._breathe()
            check(jobs[first : first + AT_ONCE], caller, queues, tasks, first)

    async def _place(self, jobs: Sequence[Job], placement: Placement) -> tuple[list[Job], list[Piece]]:
        """The jobs as they are stored, and their rows, made so many at a time that others are seen to in between."""
        placed: list[Job] = []
        pieces: list[Piece] = []
        maker = placing(jobs, placement, self._clock.now())
        while chunk := list(islice(maker, AT_ONCE)):
            try:
                pieces.append(store.piece_of(chunk, USER_LABELS))
            except TypeError as error:
                raise BadRequest(f"jobs[{len(placed)}]", f"a text near here cannot be stored: {error}") from None
            placed += chunk
            if len(placed) < len(jobs):
                await self._breathe()
        return placed, pieces

    async def _breathe(self) -> None:
        await self._clock.wait(0)

    # The user's row.

    async def _account(self, caller: Caller, jobs: Sequence[Job]) -> _Account:
        counted = next((job for job in jobs if needs_user_counter(job.prod_source_label, job.processing_type)), None)
        if counted is None and self._owners.has(caller):
            return _Account()
        return await self._accounts.submit(_Entry(caller=caller, counted=counted))

    async def _settle_accounts(self, entries: list[_Entry]) -> list[_Account | Exception]:
        bound, accounts = await self._database.transaction("submission.account", self._accounts_of, entries)
        self._owners.note(bound)
        return accounts

    async def _accounts_of(
        self, tx: Transaction, entries: Sequence[_Entry]
    ) -> tuple[dict[str, frozenset[str]], list[_Account | Exception]]:
        now = self._clock.now()
        owners = await self._owners.bind_all(tx, [entry.caller for entry in entries])
        counting = {
            entry.caller.name: entry.caller.dn
            for entry in entries
            if entry.counted is not None and entry.caller.identity in owners[entry.caller.name]
        }
        users = await store.lock_users(tx, counting, now) if counting else {}
        last: dict[int, int] = {}
        accounts = [_account_of(entry, owners, users, last) for entry in entries]
        if last:
            await store.count_users(tx, last, now)
        return owners, accounts

    # The rows.

    async def _flush(self, waiting: list[_Rows]) -> list[Exception | None]:
        answers: list[Exception | None] = []
        for batch in _batches(waiting):
            answers += await self._write(batch)
        return answers

    async def _write(self, batch: Sequence[_Rows]) -> list[Exception | None]:
        """Store these; a submission that the database refuses fails alone."""
        pieces = [piece for rows in batch for piece in rows.pieces]
        metrics.BATCH_ROWS.labels("submission.store").observe(len(batch))
        try:
            await self._database.transaction("submission.store", store.store, pieces)
        except PandaError as error:
            return [error] * len(batch)
        except psycopg2.Error as error:
            if len(batch) == 1:
                return [error]
            return [(await self._write([rows]))[0] for rows in batch]
        return [None] * len(batch)


def _account_of(
    entry: _Entry, owners: Mapping[str, frozenset[str]], users: Mapping[str, UserRow], last: dict[int, int]
) -> _Account | Exception:
    """The numbers of one submission; ``last`` keeps the users' counters as the batch moves them."""
    name, job = entry.caller.name, entry.counted
    if entry.caller.identity not in owners[name]:
        return NameTaken(name, entry.caller.identity)
    if job is None:
        return _Account()
    user = users[name]
    if user.status == DISABLED:
        return Banned(name)
    ids = next_user_ids(job.job_definition_id, job.jobset_id, last.get(user.id, user.jobid))
    last[user.id] = ids.last
    privileged = job.working_group is not None and "g" in user.gridpref
    stands = standing(job.processing_type, in_system=user.ncurrent, privileged_group=privileged)
    return _Account(user_ids=ids, standing=stands)


def _batches(waiting: Sequence[_Rows]) -> Iterator[list[_Rows]]:
    batch: list[_Rows] = []
    for rows in waiting:
        if batch and sum(one.n for one in batch) + rows.n > TOGETHER:
            yield batch
            batch = []
        batch.append(rows)
    if batch:
        yield batch


def _guids() -> Iterator[str]:
    while True:
        yield str(uuid4())
