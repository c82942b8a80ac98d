"""Keeping users' sandboxes, and forgetting those that are gone (reference/lifecycle.md 3.3, step 18)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.sandboxes import AT_ONCE, HostAway, Sandboxes
from pandatx.clock import Clock
from pandatx.domain import sweep_files as rules
from pandatx.domain.sweep_files import Found, Sandbox
from pandatx.services.sweeper import Pause, Step
from pandatx.store import sandboxes as store
from pandatx.store.database import Database, in_batches

log = Logger()
T = TypeVar("T")
_Work = Coroutine[Deferred[Any], Any, T]

TOGETHER: Final = 100
"""Sandboxes between two pauses."""


@define(eq=False)
class SandboxSweep:
    """Asks the hosts that have the files; those of ``own_hosts`` are files of this server.

    A host that does not answer is asked no more in the same step.
    """

    _database: Database
    _clock: Clock
    _client: Sandboxes
    _cache_dir: Path
    _own_hosts: frozenset[str]
    _away: set[str] = field(init=False, factory=set)

    def steps(self) -> tuple[Step, ...]:
        return Step("touch of sandboxes", self.touch), Step("check of sandboxes", self.check)

    async def touch(self, pause: Pause) -> int:
        """Touch what is new, so that it is not the first to be cleaned away; how many."""
        self._away.clear()
        since = self._clock.now() - rules.TOUCHED_FOR
        touched, after = 0, (since, "")
        for _ in range(rules.ROUNDS):
            found = await self._database.transaction("sandboxes.new", store.untouched, since, after, rules.ROUND)
            for some in in_batches(found, TOGETHER):
                done = [each for each, well in zip(some, await self._each(some, self._touch_one), strict=True) if well]
                if done:
                    await self._database.transaction("sandboxes.touch", store.touch, done, self._clock.now())
                touched += len(done)
                await pause()
            if len(found) < rules.ROUND:
                break
            after = (found[-1].created, found[-1].name)
        return touched

    async def check(self, pause: Pause) -> int:
        """Look for what nobody has looked at for a day; how many are forgotten."""
        self._away.clear()
        forgotten = 0
        for _ in range(rules.ROUNDS):
            now = self._clock.now()
            before = now - rules.LOOKED_AT_EVERY
            found = await self._database.transaction("sandboxes.take", store.take, before, rules.ROUND, now)
            for some in in_batches(found, TOGETHER):
                forgotten += await self._forget(some, await self._each(some, self._look), now)
                await pause()
            if len(found) < rules.ROUND:
                break
        return forgotten

    async def _forget(self, sandboxes: Sequence[Sandbox], found: Sequence[Found], now: datetime) -> int:
        lost = [each for each, how in zip(sandboxes, found, strict=True) if rules.is_lost(how, each.created, now)]
        if lost:
            await self._database.transaction("sandboxes.forget", store.forget, lost)
        return len(lost)

    async def _each(self, some: Sequence[Sandbox], work: Callable[[Sandbox], _Work[T]]) -> list[T]:
        """The answers in the order of the sandboxes; only so many are asked for at a time."""
        tokens = DeferredSemaphore(AT_ONCE)
        ended = await DeferredList([tokens.run(work, each) for each in some], consumeErrors=True)
        for well, answer in ended:
            if not well:
                answer.raiseException()  # type: ignore[attr-defined]
        return [answer for _, answer in ended]

    async def _touch_one(self, sandbox: Sandbox) -> bool:
        if sandbox.host in self._own_hosts:
            return await self._here(_touch_file, sandbox, False)
        try:
            return await self._asked(sandbox, self._client.touch)
        except HostAway:
            return False

    async def _look(self, sandbox: Sandbox) -> Found:
        if sandbox.host in self._own_hosts:
            return await self._here(_look_for_file, sandbox, Found.THERE)
        try:
            there = await self._asked(sandbox, self._client.exists)
        except HostAway:
            return Found.AWAY
        return Found.THERE if there else Found.GONE

    async def _here(self, work: Callable[[Path, Sandbox], T], sandbox: Sandbox, unknown: T) -> T:
        """Of a cache of our own that cannot be read nothing is known; the other hosts are asked all the same."""
        try:
            return await deferToThread(work, self._cache_dir, sandbox)
        except OSError as fault:
            if sandbox.host not in self._away:
                log.warn("sandboxes of this host cannot be looked at: {fault}", fault=fault)
            self._away.add(sandbox.host)
            return unknown

    async def _asked(self, sandbox: Sandbox, ask: Callable[[str, str], Awaitable[bool]]) -> bool:
        if not sandbox.proper or sandbox.host in self._away:
            raise HostAway()
        try:
            return await ask(sandbox.host, sandbox.name)
        except HostAway as fault:
            if sandbox.host not in self._away:
                log.warn("sandboxes of {host} are not asked for: {fault}", host=sandbox.host, fault=fault)
            self._away.add(sandbox.host)
            raise


def _look_for_file(cache_dir: Path, sandbox: Sandbox) -> Found:
    """On this host. OSError where its cache is not there at all: then nothing is known of its files."""
    cache_dir.stat()
    if not sandbox.proper:
        return Found.GONE
    return Found.THERE if os.path.lexists(cache_dir / sandbox.name) else Found.GONE


def _touch_file(cache_dir: Path, sandbox: Sandbox) -> bool:
    if not sandbox.proper:
        return False
    try:
        os.utime(cache_dir / sandbox.name, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
