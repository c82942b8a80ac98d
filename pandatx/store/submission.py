"""Storing what users submit: ids, user counters, and the rows of new jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

from attrs import Factory, define, frozen

from pandatx.domain.job import Job
from pandatx.store import columns
from pandatx.store.columns import FILE, JOB, SEPARATE, json_rows
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query, load

_COLUMNS: Final = {name: column for name, column in JOB.items() if name not in SEPARATE}

SQL = load(
    __file__,
    job_columns=columns.names(_COLUMNS),
    job_typed=columns.typed(_COLUMNS),
    file_columns=columns.names(FILE),
    file_typed=columns.typed(FILE),
)
BLOCK: Final = 1000
"""Ids that are taken from a sequence at a time, at the least; those left when the server ends are never used."""
LARGEST: Final = 250
"""Jobs in one statement: its text is quoted and sent in the reactor's thread."""


@define
class _Stock:
    """Ids of one sequence that are not yet given out."""

    query: Query
    block: int
    runs: deque[range] = Factory(deque)

    @property
    def left(self) -> int:
        return sum(map(len, self.runs))

    def take(self, n: int) -> Iterator[int]:
        taken: list[range] = []
        while n:
            run = self.runs.popleft()
            taken.append(run[:n])
            if n < len(run):
                self.runs.appendleft(run[n:])
            n -= len(taken[-1])
        return chain.from_iterable(taken)

    async def fill(self, database: Database, n: int) -> None:
        while self.left < n:
            found = await database.statement("submission.ids", self.query, n=max(n - self.left, self.block))
            self.runs.extend(range(first, last + 1) for first, last in found.rows)


@define(eq=False)
class Ids:
    """PandaIDs, row_ids and serial numbers of sub blocks, fetched in blocks."""

    _database: Database
    _jobs: _Stock = Factory(lambda: _Stock(SQL.job_ids, BLOCK))
    _files: _Stock = Factory(lambda: _Stock(SQL.file_ids, 4 * BLOCK))
    _serials: _Stock = Factory(lambda: _Stock(SQL.serials, BLOCK // 10))

    async def take(self, jobs: int, files: int) -> tuple[Iterator[int], Iterator[int]]:
        """As many PandaIDs, and as many row_ids."""
        await self._jobs.fill(self._database, jobs)
        panda_ids = self._jobs.take(jobs)
        await self._files.fill(self._database, files)
        return panda_ids, self._files.take(files)

    async def serials(self, n: int) -> list[int]:
        """As many serial numbers for sub blocks."""
        await self._serials.fill(self._database, n)
        return list(self._serials.take(n))


@frozen(kw_only=True)
class UserRow:
    """What of a row of USERS matters to a submission."""

    id: int
    name: str
    status: str
    jobid: int
    ncurrent: int
    gridpref: str


async def lock_users(tx: Transaction, dns: Mapping[str, str | None], now: datetime) -> dict[str, UserRow]:
    """The rows of these names, locked until the end of the transaction; those missing are made."""
    found = await _lock_users(tx, sorted(dns))
    if missing := sorted(dns.keys() - found.keys()):
        await tx.run(SQL.lock_user_names)
        await tx.run(SQL.add_users, names=missing, dns=[dns[name] for name in missing], now=now)
        found |= await _lock_users(tx, missing)
    return found


async def _lock_users(tx: Transaction, names: Sequence[str]) -> dict[str, UserRow]:
    rows = [UserRow(**row) for row in (await tx.run(SQL.lock_users, names=list(names))).dicts()]
    return {row.name: row for row in reversed(rows)}


async def tasks_of(database: Database, owner: str, ids: Sequence[int]) -> frozenset[int]:
    """Those of the tasks that belong to this user."""
    found = await database.statement("submission.tasks", SQL.tasks_of, owner=owner, ids=list(ids))
    return frozenset(found.column("jeditaskid"))


async def count_users(tx: Transaction, last: Mapping[int, int], now: datetime) -> None:
    """Store the users' counters, by the ids of their rows."""
    await tx.run(SQL.count_users, ids=list(last), numbers=list(last.values()), now=now)


@frozen(kw_only=True)
class Piece:
    """Some jobs as JSON rows without the brackets around them."""

    n: int
    jobs: str
    files: str
    parameters: str
    metadata: str = ""


def piece_of(jobs: Sequence[Job], with_metadata: frozenset[str]) -> Piece:
    """The rows of jobs; ``with_metadata`` are the labels whose metadata is stored (trap 57: NULL is none).

    Raises TypeError for a text that has no UTF-8.
    """
    told = [
        {"pandaid": job.panda_id, "metadata": job.metadata}
        for job in jobs
        if job.metadata not in (None, "", "NULL") and job.prod_source_label in with_metadata
    ]
    return Piece(
        n=len(jobs),
        jobs=_bare(json_rows(map(columns.job_row, jobs))),
        files=_bare(json_rows([columns.file_row(file) for job in jobs for file in job.files])),
        parameters=_bare(json_rows([{"pandaid": job.panda_id, "jobparameters": job.job_parameters} for job in jobs])),
        metadata=_bare(json_rows(told)) if told else "",
    )


async def store(tx: Transaction, pieces: Sequence[Piece]) -> None:
    """Insert jobs, some hundreds in a statement."""
    for group in _grouped(pieces):
        result = await tx.run(
            SQL.submit,
            jobs=_joined(piece.jobs for piece in group),
            files=_joined(piece.files for piece in group),
            parameters=_joined(piece.parameters for piece in group),
        )
        tx.xid = result.scalar()
        if any(piece.metadata for piece in group):
            await tx.run(SQL.metadata, rows=_joined(piece.metadata for piece in group))


def _grouped(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    for piece in pieces:
        if group and sum(one.n for one in group) + piece.n > LARGEST:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _bare(rows: str) -> str:
    return rows[1:-1]


def _joined(texts: Iterator[str]) -> str:
    return f"[{','.join(text for text in texts if text)}]"
