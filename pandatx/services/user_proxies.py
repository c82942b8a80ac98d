"""Proxies of active users, fetched by a plugin and kept in files for those who may ask for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import Factory, define, frozen
from cryptography import x509
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.user_proxies import file_name, is_due
from pandatx.errors import UnwritableFolder
from pandatx.identity.names import bare_dn, compact_name
from pandatx.store import credentials as store
from pandatx.store.database import Database
from pandatx.store.folders import Folder
from pandatx.workers.calls import CallError

log = Logger()

_MODE: Final = 0o600
_TIMEOUT: Final = 120.0
"""Seconds that the plugin may take for one user."""


class Pool(Protocol):
    """What runs functions by name in killable children: workers/pool.py."""

    def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Awaitable[Any]: ...


@frozen(kw_only=True)
class Kept:
    """How many proxies were fetched, could not be, and were removed with their users' right."""

    fetched: int = 0
    failed: int = 0
    removed: int = 0


@define(eq=False)
class UserProxies:
    """``target`` is the plugin as module:Class, None: nothing is kept. No roles: one proxy without attributes."""

    _database: Database
    _clock: Clock
    _pool: Pool
    _directory: Path
    _target: str | None
    _roles: tuple[str, ...] = ()
    _settings: Mapping[str, Any] = Factory(dict)
    _tried: dict[tuple[str, str | None], datetime] = Factory(dict)

    @property
    def configured(self) -> bool:
        """Whether there is a plugin."""
        return self._target is not None

    async def refresh(self, breathe: Callable[[], Awaitable[None]]) -> Kept:
        """Renew what is due for users with the letter p; files of others that we wrote are removed.

        Raises UnwritableFolder.
        """
        folder = Folder(self._directory, _MODE)
        users = await self._database.transaction("proxies.users", store.proxy_users)
        holders = dict.fromkeys(bare_dn(dn) for dn in users)
        fetched = failed = 0
        try:
            await deferToThread(folder.make)
            for dn in holders:
                got, lost = await self._renew(folder, dn)
                fetched, failed = fetched + got, failed + lost
                await breathe()
            names = {file_name(of, role) for dn in holders for of in (dn, compact_name(dn)) for role in self._wanted}
            removed = await deferToThread(folder.keep_only, names)
        except OSError as error:
            raise UnwritableFolder(f"{error.filename or self._directory}: {error.strerror}") from error
        self._tried = {key: at for key, at in self._tried.items() if key[0] in holders}
        return Kept(fetched=fetched, failed=failed, removed=removed)

    @property
    def _wanted(self) -> tuple[str | None, ...]:
        return self._roles or (None,)

    async def _renew(self, folder: Folder, dn: str) -> tuple[int, int]:
        now = self._clock.now()
        ends = await deferToThread(lambda: [_expires(folder.path / file_name(dn, role)) for role in self._wanted])
        due = [
            role for role, end in zip(self._wanted, ends, strict=True) if is_due(end, self._tried.get((dn, role)), now)
        ]
        if not due:
            return 0, 0
        self._tried.update({(dn, role): now for role in due})
        try:
            found = await self._pool.call(
                "pandatx.plugins.proxies:fetch",
                self._target,
                dn,
                due,
                dict(self._settings),
                timeout=_TIMEOUT,
                context="proxies",
            )
        except CallError as fault:
            log.warn("no proxies of {dn}: {fault}", dn=dn, fault=fault)
            return 0, len(due)
        kept = [await self._keep(folder, dn, role, one, now) for role, one in zip(due, found, strict=True)]
        return sum(kept), len(kept) - sum(kept)

    async def _keep(self, folder: Folder, dn: str, role: str | None, found: Mapping[str, Any], now: datetime) -> bool:
        pem, why = found.get("pem"), found.get("error")
        end = _expiry(pem.encode()) if isinstance(pem, str) else None
        if end is None or end <= now or not isinstance(pem, str):
            why = why or "the plugin gave no certificate that is valid"
            log.warn("no proxy of {dn} with role {role}: {why}", dn=dn, role=role, why=why)
            return False
        for holder in dict.fromkeys((dn, compact_name(dn))):
            await deferToThread(folder.write, file_name(holder, role), pem.encode())
        return True


def _expires(path: Path) -> datetime | None:
    try:
        return _expiry(path.read_bytes())
    except OSError:
        return None


def _expiry(pem: bytes) -> datetime | None:
    """When the first certificate of a chain ends; None for what is no chain."""
    try:
        return min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return None
