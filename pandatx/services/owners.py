"""Each owner's name belongs to one subject, the first that was seen with it (rule R27)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from attrs import define, field, frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import LONGEST_IDENTITY, Caller
from pandatx.domain.owners import Owner
from pandatx.errors import BadRequest, DatabaseAway, NameTaken, NotFound, NotPermitted
from pandatx.store import owners as store
from pandatx.store.database import Database, Transaction

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

FRESH: Final = timedelta(minutes=1)
"""How old what is known may be: another server may have released a name."""
REMEMBERED: Final = 20_000
LONGEST_NAME: Final = 250
"""Characters that the table has room for; most of what is owned has less."""


@frozen
class _Known:
    """``subjects`` is empty for a name that nobody has."""

    subjects: frozenset[str]
    read_at: datetime

    def free_for(self, caller: Caller) -> bool:
        """Whether it is the caller's, or nobody's."""
        return not self.subjects or caller.identity in self.subjects


@define(eq=False)
class Owners:
    """Binds names to subjects where something is made that its owner has, and refuses others with that name."""

    _database: Database
    _clock: Clock
    _known: dict[str, _Known] = field(factory=dict, init=False)

    def may_pass(self, caller: Caller) -> bool:
        """Whether it is known, without asking, that the caller may use its name."""
        return not caller.authenticated or (caller.production and not caller.by_name) or self._is_free_for(caller)

    def _is_free_for(self, caller: Caller) -> bool:
        known = self._fresh(caller.name)
        return known is not None and known.free_for(caller)

    def admission(self, caller: Caller) -> Awaitable[None] | None:
        """``check``, or None where there is nothing to wait for."""
        return None if self.may_pass(caller) else self.check(caller)

    async def check(self, caller: Caller) -> None:
        """Raise NameTaken if the caller's name is another's, Busy where the database cannot say now. Nothing is bound.

        Without a database what was known last holds, and else all may pass: what acts as an owner needs one, and a
        report is not to be lost.
        """
        if self.may_pass(caller):
            return
        with suppress(DatabaseAway):
            if self._database.up or self._fresh(caller.name) is not None:
                await self.check_name(caller)
                return
        if (known := self._known.get(caller.name)) is not None and not known.free_for(caller):
            raise NameTaken(caller.name, caller.identity)

    async def check_name(self, caller: Caller) -> None:
        """``check`` for what is its owner's alone: no role helps, and nobody passes without a database.

        Raises NameTaken, Busy.
        """
        if self._fresh(caller.name) is None:
            self._remember({caller.name: await store.subjects(self._database, caller.name)})
        if not self._is_free_for(caller):
            raise NameTaken(caller.name, caller.identity)

    async def bind(self, caller: Caller) -> None:
        """Bind the caller's name to them at first sight. Raises NameTaken."""
        if not self.has(caller):
            await self.making("owners.bind", caller, _nothing_else)

    async def making(
        self,
        name: str,
        caller: Caller,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(tx, *args)`` as a transaction that makes something the caller's: their name is bound in it, behind
        the work, so that work that is refused touches no name.

        Raises NameTaken and NotPermitted, and then nothing is done.
        """
        bound, made = await self._database.transaction(name, self._bound, caller, work, *args, **kwargs)
        self.note(bound)
        return made

    async def _bound(
        self,
        tx: Transaction,
        caller: Caller,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[dict[str, frozenset[str]], T]:
        known = self._fresh(caller.name)
        if known is not None and not known.free_for(caller):
            raise NameTaken(caller.name, caller.identity)
        made = await work(tx, *args, **kwargs)
        return await self.own(tx, caller), made

    async def own(self, tx: Transaction, caller: Caller) -> dict[str, frozenset[str]]:
        """``bind_all`` for one caller. Raises NameTaken, NotPermitted."""
        if len(caller.name) > LONGEST_NAME:
            raise NotPermitted(f"the name of an owner has at most {LONGEST_NAME} characters")
        bound = await self.bind_all(tx, [caller])
        if caller.identity not in bound[caller.name]:
            raise NameTaken(caller.name, caller.identity)
        return bound

    def has(self, caller: Caller) -> bool:
        """Whether it is known, without asking, that the name is bound to the caller."""
        known = self._fresh(caller.name)
        return known is not None and caller.identity in known.subjects

    async def bind_all(self, tx: Transaction, callers: Sequence[Caller]) -> dict[str, frozenset[str]]:
        """Whom each caller's name belongs to, bound to the first of them where it belonged to nobody.

        It is a part of another transaction; ``note`` what it gives once that is committed.
        """
        identities = {caller.name: caller.identity for caller in reversed(callers)}
        known = {name: known.subjects for name in identities if (known := self._fresh(name)) and known.subjects}
        new = {name: identity for name, identity in identities.items() if name not in known}
        return {**known, **(await store.bind(tx, new, self._clock.now()) if new else {})}

    def note(self, bound: Mapping[str, frozenset[str]]) -> None:
        """Remember what ``bind_all`` gave; what was known before does not become younger by it."""
        self._remember({name: subjects for name, subjects in bound.items() if not self._same(name, subjects)})

    def _same(self, name: str, subjects: frozenset[str]) -> bool:
        known = self._fresh(name)
        return known is not None and known.subjects == subjects

    async def show(self, name: str) -> Owner:
        """Whose name this is. Raises NotFound."""
        found = await store.owner(self._database, name)
        if found is None:
            raise NotFound(f"the name {name} belongs to nobody yet")
        return Owner(**found)

    async def release(self, caller: Caller, name: str) -> Owner:
        """Take a name from whoever has it: the next one who is seen with it gets it. Raises NotFound."""
        had = await self.show(name)
        if await self._database.transaction("owners.release", store.release, name) is None:
            raise NotFound(f"the name {name} belongs to nobody yet")
        self._known.pop(name, None)
        log.warn("{who} releases the name {name} of {subject}", who=caller.name, name=name, subject=had.subject)
        return had

    async def admit(self, caller: Caller, name: str, subject: str) -> Owner:
        """Let one more subject use a name that is bound: somebody's token beside their certificate.

        Raises BadRequest, NotFound.
        """
        if not subject.strip() or not subject.isprintable() or len(subject) > LONGEST_IDENTITY:
            raise BadRequest(
                "subject", f"must be a DN, or issuer and subject, of at most {LONGEST_IDENTITY} characters"
            )
        if not await self._database.transaction("owners.admit", store.admit, name, subject):
            raise NotFound(f"the name {name} belongs to nobody yet")
        self._known.pop(name, None)
        log.warn("{who} lets {subject} use the name {name}", who=caller.name, name=name, subject=subject)
        return await self.show(name)

    def _fresh(self, name: str) -> _Known | None:
        known = self._known.get(name)
        return known if known is not None and self._clock.now() < known.read_at + FRESH else None

    def _remember(self, found: Mapping[str, Any]) -> None:
        now = self._clock.now()
        if len(self._known) + len(found) > REMEMBERED:
            self._known.clear()
        self._known.update((name, _Known(subjects, now)) for name, subjects in found.items())


async def _nothing_else(tx: Transaction) -> None:
    pass
