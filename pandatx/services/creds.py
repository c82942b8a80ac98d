"""Handing out what is kept for users: proxies, access tokens and their keys, key pairs (wire.md 2.7 to 2.9)."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.tokens import TokenClient, TokenKey, read_clients
from pandatx.domain.user_proxies import file_name
from pandatx.errors import DatabaseAway, KeyMissing, NotKept, TokenKeyInvalid
from pandatx.identity.names import bare_dn
from pandatx.services.facts import Facts
from pandatx.services.owners import Owners
from pandatx.services.permissions_of_users import Letter, UserPermissions
from pandatx.store import creds as store
from pandatx.store import facts as facts_store
from pandatx.store.creds import UnfitFile
from pandatx.store.database import Database

log = Logger()


@frozen(kw_only=True)
class KeyPair:
    """Two keys."""

    public: str
    private: str = field(repr=False)


@frozen(kw_only=True)
class Places:
    """Where things are kept: proxies and tokens, the file of clients, key pairs."""

    credentials: Path
    token_clients: Path
    keys: Path


@frozen
class Creds:
    """Each of these asks the caller's letter first. What is handed out is never logged, only that it was.

    Letters are a name's: whoever is given something by the name alone has it from then on (rule R27).
    """

    _database: Database
    _facts: Facts
    _clock: Clock
    _permissions: UserPermissions
    _owners: Owners
    _places: Places
    _exposed: set[Path] = field(factory=set, init=False)

    async def proxy(self, caller: Caller, role: str | None, dn: str | None) -> str:
        """The proxy that is kept for a user, by default the caller, with a role, by default without.

        Raises NotPermitted, NotKept.
        """
        self._permissions.require(caller, Letter.PROXY)
        holder = bare_dn(dn or caller.dn or caller.name)
        what = f"proxy of {holder}" + (f" with role {role}" if role else "")
        found = await self._read(self._places.credentials / file_name(holder, role or None), what)
        await self._take_name(caller)
        log.info("{who} gets the {what}", who=caller.name, what=what)
        return found

    async def access_token(self, caller: Caller, client_name: str, key: str | None) -> str:
        """The access token of a client, to one who has its key where it needs one.

        Raises NotPermitted, TokenKeyInvalid, NotKept.
        """
        self._permissions.require(caller, Letter.PROXY)
        client = (await self._clients()).get(client_name)
        if client is None:
            raise NotKept(f"token not found for {client_name}")
        if client.use_key and not (key and await self._opens(key, client_name)):
            raise TokenKeyInvalid(client_name)
        what = f"token of {client_name}"
        found = (await self._read(client.file_in(self._places.credentials), what)).strip()
        if not found:
            raise NotKept(f"{what} not found")
        await self._take_name(caller)
        log.info("{who} gets the {what}", who=caller.name, what=what)
        return found

    async def token_key(self, caller: Caller, client_name: str) -> str:
        """The key of a client that holds the longest. Raises NotPermitted, KeyMissing."""
        self._permissions.require(caller, Letter.TOKEN_KEY)
        keys = self._known(client_name) or await self._read_keys(client_name)
        if not keys:
            raise KeyMissing(f"token key is missing for '{client_name}'")
        await self._take_name(caller)
        log.info("{who} gets a key for the token of {client}", who=caller.name, client=client_name)
        return keys[0]

    async def key_pair(self, caller: Caller, public: str, private: str) -> KeyPair:
        """Two keys of keyDir by their files' names. Raises NotPermitted, KeyMissing."""
        self._permissions.require(caller, Letter.KEY_PAIR)
        pair = KeyPair(public=await self._key(public, private=False), private=await self._key(private, private=True))
        await self._take_name(caller)
        log.info("{who} gets the keys {public} and {private}", who=caller.name, public=public, private=private)
        return pair

    async def _take_name(self, caller: Caller) -> None:
        """Without a database nobody is held up by this. Raises NameTaken, Busy."""
        if not caller.reports and self._database.up:
            with suppress(DatabaseAway):
                await self._owners.bind(caller)

    async def _read(self, path: Path, what: str) -> str:
        try:
            kept = await deferToThread(store.read, path)
        except UnfitFile as fault:
            log.error("the {what} in {path} is not given out: {fault}", what=what, path=str(path), fault=fault)
            raise NotKept(f"{what} is kept, but not given out: {fault}") from None
        if kept is None:
            raise NotKept(f"{what} not found")
        self._warn_of(path, kept.exposed)
        return kept.text

    def _warn_of(self, path: Path, mode: str | None) -> None:
        """Once while it lasts: Kubernetes mounts secrets so that all can read them, unless it is told otherwise."""
        if mode is None:
            self._exposed.discard(path)
        elif path not in self._exposed:
            self._exposed.add(path)
            log.warn(
                "{path} holds a credential, and others on this machine can read it: {mode}", path=str(path), mode=mode
            )

    async def _key(self, name: str, *, private: bool) -> str:
        try:
            found = await deferToThread(store.read_key, self._places.keys, name, private=private)
        except UnfitFile as fault:
            raise KeyMissing(f"{name} is not given out by {await _here()}: {fault}") from None
        if found is None:
            raise KeyMissing(f"{name} is missing on {await _here()}")
        return found

    async def _clients(self) -> Mapping[str, TokenClient]:
        try:
            kept = await deferToThread(store.read, self._places.token_clients)
            clients = read_clients(kept.text.encode() if kept else b"{}").clients
        except (UnfitFile, ValueError) as fault:
            log.error("{path} names no clients: {fault}", path=str(self._places.token_clients), fault=fault)
            raise NotKept("the clients of tokens are not known") from None
        return {client.name: client for client in clients}

    def _known(self, client: str) -> list[str]:
        return self._holding(client, self._facts.known.token_keys)

    async def _read_keys(self, client: str) -> list[str]:
        """What is in the table now: a key may be younger than what is known."""
        keys = await self._database.transaction("creds.keys", facts_store.token_keys, self._clock.now())
        return self._holding(client, keys)

    def _holding(self, client: str, keys: Iterable[TokenKey]) -> list[str]:
        now = self._clock.now()
        return [each.key for each in keys if each.client == client and each.expires > now]

    async def _opens(self, key: str, client: str) -> bool:
        return _is_among(key, self._known(client)) or _is_among(key, await self._read_keys(client))


async def _here() -> str:
    """This host's full name; a name service may have to be asked."""
    name: str = await deferToThread(socket.getfqdn)
    return name


def _is_among(key: str, keys: Iterable[str]) -> bool:
    given = key.encode("utf-8", "replace")
    return any([hmac.compare_digest(given, each.encode()) for each in keys])
