"""Which sandbox lies where: noted in USERCACHEUSAGE, at once or as soon as there is a database again (rule R25)."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import attrs
import psycopg2
from attrs import define, field
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import EPOCH, Clock
from pandatx.domain.caller import Caller
from pandatx.domain.file_requests import NOWHERE, REUSED_FOR, KnownFile, Placed, RegisteredFile
from pandatx.errors import Busy, DatabaseAway, NotPermitted, PandaError
from pandatx.services.complaints import Complaints
from pandatx.services.owners import Owners
from pandatx.store import cache_folder as folder
from pandatx.store import sandbox_notes as notes
from pandatx.store import sandboxes as store
from pandatx.store.database import Database, Transaction

log = Logger()

PATIENCE: Final = 1.0
"""Seconds that a note waits for a database before it goes to the disk."""
STATEMENT: Final = 10.0
AGAIN: Final = timedelta(minutes=1)
"""After notes that the database refused for now, nothing is played for so long."""
_OWNER, _CHECKSUM, _HOST = 128, 36, 64
"""What the columns hold."""


class AlreadyRegistered(PandaError):
    """The file is noted for that host already."""

    def __init__(self) -> None:
        super().__init__("WARNING: file exist")


@define(eq=False)
class SandboxBook:
    """The book of sandboxes. ``host`` is the name under which files of this server are found, one of ``own_hosts``;
    ``notes`` is the folder for what waits for the database.
    """

    _database: Database
    _clock: Clock
    _owners: Owners
    host: str
    own_hosts: frozenset[str]
    _cache_dir: Path
    _notes: Path
    _playing: bool = field(default=False, init=False)
    _rests_until: datetime = field(default=EPOCH, init=False)
    _complaints: Complaints = field(factory=lambda: Complaints(log), init=False)

    def entry(self, caller: Caller, name: str, size: int, checksum: str | None) -> Placed:
        """What is noted of a file that a caller has sent to this server now. With a role names do not matter."""
        return Placed(
            owner=owner_name(caller),
            name=name,
            host=self.host[:_HOST],
            size=size,
            checksum=checksum,
            created=self._clock.now(),
            subject=None if caller.reports or owner_name(caller) != caller.name else caller.identity,
        )

    async def note(self, placed: Placed) -> None:
        """Note a file of this server, and that its owner's name is that of who sent it; without a database it is noted
        later, also after a restart. Raises OSError, NameTaken.
        """
        if self._database.up:
            try:
                await self._keep(placed)
            except (Busy, psycopg2.Error) as fault:
                log.warn("{name}: noted later: {fault}", name=placed.name, fault=str(fault).strip())
            else:
                return
        await deferToThread(notes.keep, self._notes, placed)

    async def _keep(self, placed: Placed) -> None:
        self._owners.note(await self._database.limited("sandboxes.record", STATEMENT, PATIENCE, self._record, placed))

    async def _record(self, tx: Transaction, placed: Placed) -> dict[str, frozenset[str]]:
        await store.record(tx, placed)
        if placed.subject is None:
            return {}
        return await self._owners.own(tx, Caller(dn=placed.subject, name=placed.owner, how="x509"))

    async def register(self, request: RegisteredFile, name: str, host: str) -> None:
        """Note a file that another server has taken in. Raises AlreadyRegistered."""
        placed = Placed(
            owner=request.user_name,
            name=name,
            host=host[:_HOST],
            size=request.file_size,
            checksum=request.checksum or None,
            created=self._clock.now(),
        )
        if not await self._database.transaction("sandboxes.register", store.register, placed):
            raise AlreadyRegistered
        log.info("{name} of {owner} lies on {host}", name=name, owner=placed.owner, host=placed.host)

    async def find(self, caller: Caller, known: KnownFile) -> Placed | None:
        """A file that the caller has sent lately and that looks the same; of this server only one that is there.

        Without a database nothing is found: the file is sent again.
        """
        since = self._clock.now() - REUSED_FOR
        checksum = known.checksum[:_CHECKSUM]
        owner = owner_name(caller)
        if not self._database.up:
            return None
        try:
            same = await self._database.limited(
                "sandboxes.same", STATEMENT, PATIENCE, store.same, owner, known.file_size, checksum, since, NOWHERE
            )
        except Busy as fault:
            log.warn("whether a sandbox is known cannot be said: {fault}", fault=fault)
            return None
        for each in same:
            if not self._is_own(each):
                return each
            if await deferToThread(self._is_here, each):
                return attrs.evolve(each, host=self.host) if each.host == self.host[:_HOST] else each
        return None

    def _is_own(self, placed: Placed) -> bool:
        """Whether it lies on this server, also where the database has but the beginning of its name."""
        return placed.host in self.own_hosts or placed.host == self.host[:_HOST]

    def _is_here(self, placed: Placed) -> bool:
        """Whether a file is there as it was; it is wanted still."""
        path = self._cache_dir / placed.name
        try:
            return "/" not in placed.name and folder.size_of(path) == placed.size and folder.touch(path)
        except OSError:
            return False

    async def owner_of(self, name: str) -> str | None:
        """Whose file of this server that is; None where nobody knows. Raises DatabaseAway."""
        for _, waiting in reversed(await deferToThread(notes.waiting, self._notes)):
            if waiting is not None and (waiting.name, waiting.host) == (name, self.host[:_HOST]):
                return waiting.owner
        for placed in await self._database.transaction("sandboxes.places", store.places, name):
            if self._is_own(placed):
                return placed.owner
        return None

    async def elsewhere(self, name: str) -> list[Placed]:
        """On which other hosts a file is, the newest first. Raises Busy without a database."""
        if not self._database.up:
            raise DatabaseAway
        found = await self._database.limited("sandboxes.places", STATEMENT, PATIENCE, store.places, name)
        return [each for each in found if not self._is_own(each) and each.host != NOWHERE]

    async def play(self) -> int:
        """Note in the database what waits for it, from this process or one that ended; how many."""
        if self._playing or not self._database.up or self._clock.now() < self._rests_until:
            return 0
        self._playing = True
        try:
            return await self._play()
        except (Busy, DatabaseAway):
            return 0
        finally:
            self._playing = False

    async def _play(self) -> int:
        played, faults = 0, list[str]()
        for path, placed in await deferToThread(notes.waiting, self._notes):
            try:
                taken = placed is not None and await self._take(placed)
            except psycopg2.Error as fault:  # says nothing of the note: it stays, and stops no other
                faults.append(f"a sandbox cannot be noted now: {str(fault).strip()}")
                continue
            if not taken:
                log.critical("the note of a sandbox is refused; it is kept beside {path}", path=str(path))
                await deferToThread(notes.set_aside, path)
                continue
            await deferToThread(notes.drop, path)
            played += 1
        if faults:
            self._rests_until = self._clock.now() + AGAIN
        self._complaints.about(faults)
        if played:
            log.info("{n} sandboxes noted that came without a database", n=played)
        return played

    async def _take(self, placed: Placed) -> bool:
        try:
            await self._keep(placed)
        except (psycopg2.DataError, NotPermitted) as fault:
            log.error("{name}: {fault}", name=placed.name, fault=str(fault).strip())
            return False
        return True


def owner_name(caller: Caller) -> str:
    """As whose a file is noted: the compact name, of one without it the DN."""
    return (caller.name or caller.dn or "")[:_OWNER]


def told(placed: Placed | None) -> str:
    """As panda-client reads whether it may use a file again."""
    return "NOTFOUND" if placed is None else f"FOUND:{placed.host}:{placed.name}"
