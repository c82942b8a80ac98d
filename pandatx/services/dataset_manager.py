"""Closing, freezing and deleting datasets: the storage first, then the row (reference/lifecycle.md 3.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import dataset_manager as rules
from pandatx.domain.dataset_manager import Window
from pandatx.services.closer import Closer
from pandatx.services.storages import Storages
from pandatx.store import dataset_manager as store
from pandatx.store.database import Database, Transaction
from pandatx.store.dataset_manager import Chore, Claimed

log = Logger()
Pause = Callable[[], Awaitable[None]]

TOGETHER: Final = 500
"""Datasets whose row locks are taken at a time."""
_OPEN: Final = ("running", "created", "defined", "locked", "doing")


@frozen
class DatasetManager:
    """One pass over each kind of datasets, in batches with a ``pause`` between two; each gives how many it changed.

    What a storage did not do keeps its row lock, and is looked at again when that is over.
    """

    _database: Database
    _clock: Clock
    _storages: Storages
    _closer: Closer

    async def close(self, pause: Pause) -> int:
        """Datasets that the Closer has found complete are closed in their storage."""
        n = 0
        async for claimed in self._claims(Chore.CLOSE, rules.CLOSE, pause):
            n += await self._complete(claimed, ("tobeclosed",))
        return n

    async def freeze(self, pause: Pause) -> int:
        """Sub blocks that nobody closed, although all of their files are settled, are closed."""
        now = self._clock.now()
        back = now - rules.FREEZE.least
        await self._database.transaction("datasets.reset", store.reset, rules.RESET, back, now)
        n = 0
        async for claimed in self._claims(Chore.FREEZE, rules.FREEZE, pause):
            names = [each.name for each in claimed]
            statuses = await self._database.transaction("datasets.files", store.file_statuses, names)
            settled = {name for name, found in statuses.items() if rules.is_frozen(found)}
            frozen_ones = [each for each in claimed if each.name in settled]
            waiting = [each.vuid for each in claimed if each.name not in settled]
            await self._database.transaction("datasets.touch", store.touch, waiting, self._clock.now())
            n += await self._complete([each for each in frozen_ones if not await self._merges(each.name)], _OPEN)
        return n

    async def delete_dispatch(self, pause: Pause) -> int:
        """Dispatch blocks that were read are deleted."""
        n = 0
        async for claimed in self._claims(Chore.DELETE_DISPATCH, rules.DELETE_DISPATCH, pause):
            names = [each.name for each in claimed if rules.is_dispatch(each.name)]
            owners = await self._database.transaction("datasets.owners", store.owners, names, "dispatch")
            done = await self._storages.delete(names, owners, "dispatch")
            n += len(await self._set(claimed, done, ("deleting", "shortening"), "deleted"))
        return n

    async def delete_subs(self, pause: Pause) -> int:
        """Sub blocks all of whose jobs have ended are deleted: their files are in the dataset."""
        n = 0
        async for claimed in self._claims(Chore.DELETE_SUB, rules.DELETE_SUB, pause):
            subs = [each.name for each in claimed if rules.is_sub(each.name)]
            real = [name for name in subs if not rules.is_only_a_name(name) or rules.is_unmerged(name)]
            recent = self._clock.now() - rules.OLD_ENOUGH
            busy = await self._database.transaction("datasets.unfinished", store.unfinished, real, recent)
            names = [name for name in real if name not in busy]
            owners = await self._database.transaction("datasets.owners", store.owners, names, "output")
            done = await self._storages.delete(names, owners, "output") | (set(subs) - set(real))
            n += len(await self._set(claimed, done, ("completed", "cleanup"), "deleted"))
        return n

    async def _claims(self, chore: Chore, window: Window, pause: Pause) -> AsyncIterator[Sequence[Claimed]]:
        """Batches of datasets whose row locks are ours, until none is left in the window of this pass."""
        now = self._clock.now()
        while claimed := await self._database.transaction("datasets.claim", store.claim, chore, window, now, TOGETHER):
            yield claimed
            await pause()
            if len(claimed) < TOGETHER:
                return

    async def _complete(self, claimed: Sequence[Claimed], old: Collection[str]) -> int:
        """Close datasets that are more than a name, and note it; then nobody reads their dispatch blocks any more."""
        names = [each.name for each in claimed if not rules.is_only_a_name(each.name)]
        owners = await self._database.transaction("datasets.owners", store.owners, names, "output")
        closed = await self._storages.close(names, owners)
        done = closed | {each.name for each in claimed if rules.is_only_a_name(each.name)}
        completed = await self._set(claimed, done, old, "completed")
        for name in completed:
            log.info("dataset {name} is closed", name=name)
        subs = [name for name in completed if rules.has_dispatch_blocks(name)]
        if subs:
            await self._database.transaction("datasets.dispatch", self._let_go, subs)
        return len(completed)

    async def _set(
        self, claimed: Iterable[Claimed], names: Collection[str], old: Collection[str], status: str
    ) -> list[str]:
        vuids = [each.vuid for each in claimed if each.name in names]
        return await self._database.transaction("datasets.set", store.set_status, vuids, old, status, self._clock.now())

    async def _merges(self, name: str) -> bool:
        """Whether a block is left to the Closer, since its files are still being merged."""
        if not rules.is_unmerged(name):
            return False
        job = await self._database.transaction("datasets.unmerged", store.unmerged_job, name)
        if job is not None:
            await self._closer.close([job])
        return job is not None

    async def _let_go(self, tx: Transaction, subs: Sequence[str]) -> None:
        """Dispatch blocks behind closed sub blocks: to be deleted, sooner where none of their jobs has failed."""
        found = [each for each in await store.dispatch_behind(tx, subs) if rules.is_dispatch(each.name)]
        now = self._clock.now()
        for status in ("deleting", "shortening"):
            vuids = [each.vuid for each in found if rules.last_status(each.n_failed) == status]
            await store.set_status(tx, vuids, (), status, now)
