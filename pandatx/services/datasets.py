"""Datasets as users and operators speak of them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from attrs import frozen
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.errors import NotFound, NotPermitted
from pandatx.services.activator import Activator
from pandatx.store import setup as store
from pandatx.store.database import Database, Transaction

log = Logger()


class Finisher(Protocol):
    """services.finisher, as far as it is called here."""

    def arrived(self, name: str) -> Awaitable[int]: ...


@frozen(kw_only=True)
class _Block:
    """What is known of a name: whether it is a dataset, and whose jobs wait for it or have yet to bring files to it."""

    known: bool
    read: bool
    written: bool
    owners: frozenset[str]


@frozen
class Datasets:
    """Say that the files of a dataset are there (rules R18 and R41)."""

    _database: Database
    _activator: Activator
    _finisher: Finisher

    async def complete(self, caller: Caller, name: str) -> int:
        """Jobs that wait for this dispatch block are activated, transfers to this output block are over.

        Gives the number of jobs that go on. For the production role, and for a user to whom all jobs belong that
        wait for the block or have yet to write it, else NotPermitted. NotFound for a name that nothing has.
        """
        block = await self._database.transaction("datasets.look", self._look, name)
        if not (block.known or block.read or block.written):
            raise NotFound(f"no dataset {name}")
        if not caller.production and block.owners != {caller.name}:
            raise NotPermitted(f"{name}: not all jobs that wait for this dataset, or write it, are yours")
        n = await self._activator.release(name, enforce=True) if block.read or block.known else 0
        if block.written:
            n += await self._finisher.arrived(name)
        log.info("{user} says that {name} is complete: {n} jobs go on", user=caller.name, name=name, n=n)
        return n

    async def _look(self, tx: Transaction, name: str) -> _Block:
        rows = await store.datasets(tx, name)
        readers = await store.jobs_of_block(tx, name)
        writers = await store.owners_of_block(tx, name)
        owners = {job.owner or "" for job in readers} | writers
        return _Block(known=bool(rows), read=bool(readers), written=bool(writers), owners=frozenset(owners))
