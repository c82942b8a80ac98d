"""The token cache: access tokens of clients, fetched and kept fresh in files; and their token keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from attrs import Factory, define, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.oidc_tokens import NoToken, client_credentials
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.domain.tokens import KEY_EVERY, TokenClient, is_due, read_clients
from pandatx.errors import UnwritableFolder
from pandatx.services.complaints import Complaints
from pandatx.store import credentials as store
from pandatx.store.database import Database
from pandatx.store.folders import Folder, replace

log = Logger()

_MODE: Final = 0o600


@frozen(kw_only=True)
class Renewed:
    """How many tokens were renewed and could not be, and how many keys are new."""

    tokens: int = 0
    failed: int = 0
    keys: int = 0


@define(eq=False)
class TokenCache:
    """``config`` is token_cache_config; tokens are kept in ``directory`` as access_token_CLIENT, 0600."""

    _database: Database
    _clock: Clock
    _web: Web
    config: Path
    _directory: Path
    _complaints: Complaints = Factory(lambda: Complaints(log))
    _lifetimes: dict[Path, timedelta] = Factory(dict)

    async def refresh(self) -> Renewed | None:
        """Renew what is due; None where the file of clients does not exist.

        A token that cannot be renewed stays, and is asked for again next time. Raises UnwritableFolder at the end for
        one that could not be written.
        """
        try:
            found = read_clients(await deferToThread(self.config.read_bytes))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as fault:
            self._complaints.about([f"tokens are not renewed: {self.config}: {fault}"])
            return Renewed()
        self._complaints.about(found.faults)
        tokens = failed = keys = 0
        unwritable: UnwritableFolder | None = None
        for client in found.clients:
            try:
                tokens += await self._renew(client)
            except NoToken as fault:
                failed += 1
                log.warn("no new token for client {client}: {fault}", client=client.name, fault=fault)
            except UnwritableFolder as fault:
                unwritable = fault
            if client.use_key:
                keys += await self._database.transaction(
                    "tokens.key",
                    store.register_key,
                    client.name,
                    str(uuid4()),
                    client.key_lifetime,
                    KEY_EVERY,
                    self._clock.now(),
                )
        if unwritable is not None:
            raise unwritable
        return Renewed(tokens=tokens, failed=failed, keys=keys)

    async def _renew(self, client: TokenClient) -> bool:
        path = client.file_in(self._directory)
        if client.endpoint is None or not await self._is_due(path):
            return False
        grant = await client_credentials(self._web, client.endpoint, client.client_id, client.secret, client.scope)
        try:
            if client.file is None:
                await deferToThread(Folder(self._directory, _MODE).make)
            await deferToThread(replace, path, (grant.token.encode(),), _MODE)
        except OSError as error:
            raise UnwritableFolder(f"{path}: {error.strerror}") from error
        if grant.lifetime is not None:
            self._lifetimes[path] = grant.lifetime
        return True

    async def _is_due(self, path: Path) -> bool:
        there = await deferToThread(_read_token, path)
        return there is None or is_due(there[0], there[1], self._lifetimes.get(path), self._clock.now())


def _read_token(path: Path) -> tuple[str, datetime] | None:
    try:
        return path.read_text(errors="replace"), datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
