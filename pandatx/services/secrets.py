"""Keeping secrets of users for their jobs: given to their owner, and to the pilots of those jobs, to nobody else."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import user_secrets
from pandatx.domain.caller import Caller
from pandatx.errors import BadRequest, NotPermitted
from pandatx.services.owners import Owners
from pandatx.store import secrets as store
from pandatx.store.database import Database, Transaction

log = Logger()


@frozen
class UserSecrets:
    """``reserved`` owns what pilots of jobs in debug mode are given; no user of that name may read or change it."""

    _database: Database
    _clock: Clock
    _owners: Owners
    _reserved: str = "pilot secrets"

    async def change(self, caller: Caller, key: str | None, value: str | None) -> None:
        """Store or remove a secret of the caller; without a key remove all. The name they are kept under becomes the
        caller's, if it was nobody's. Raises BadRequest, NotPermitted."""
        owner = self._owner(caller)
        if key is not None and (fault := user_secrets.fault_of(key, value)) is not None:
            raise BadRequest(*fault)
        await self._owners.making("secrets.change", caller, self._change, owner, key, value)
        log.info("{owner} has changed what is kept for their jobs", owner=owner)

    async def _change(self, tx: Transaction, owner: str, key: str | None, value: str | None) -> None:
        now = self._clock.now()
        data = user_secrets.changed(await store.lock(tx, owner, now), key, value)
        if value is not None and len(data) > user_secrets.LARGEST:
            raise BadRequest("value", f"with it all would be more than {user_secrets.LARGEST} characters")
        await store.write(tx, owner, data, now)

    async def get(self, caller: Caller, keys: tuple[str, ...]) -> dict[str, Any]:
        """Secrets of the caller by key, all of them without ``keys``. Raises NotPermitted."""
        owner = self._owner(caller)
        await self._owners.check_name(caller)
        data = await self._database.transaction("secrets.get", store.read, owner)
        return user_secrets.chosen(data, keys)

    def _owner(self, caller: Caller) -> str:
        if caller.name == self._reserved or not caller.name:
            raise NotPermitted("nobody may have secrets of this name")
        if len(caller.name) > user_secrets.LONGEST_OWNER:
            raise NotPermitted(f"secrets need a name of at most {user_secrets.LONGEST_OWNER} characters")
        return caller.name
