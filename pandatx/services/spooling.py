"""Final reports are never refused for want of a database: they go to the disk, and are played when it is back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs
import orjson
import psycopg2
from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat, Reply
from pandatx.errors import Busy, DatabaseAway, PandaError
from pandatx.metrics import SPOOL_REFUSED
from pandatx.services.batching import Batcher
from pandatx.store import spool as store
from pandatx.store.spool import SpoolDirectory

log = Logger()

TOGETHER: Final = 100
"""Records that are played at once; two on one job still keep their order."""
_CUT: Final = b""
"""Stands in the line of records for: close the segment here, it is going to be played."""
_LATER: Final = (Busy, psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError)
"""Faults that say nothing of the record."""
_TIMES: Final = frozenset(
    attribute.name for attribute in attrs.fields(Heartbeat) if "datetime" in str(attribute.type)
)  # fmt: skip


async def _nobody_waits(instances: Sequence[str]) -> None:
    """For a spool beside which nothing else is to be adopted."""


@define(eq=False)
class Spooler:
    """The spool of this process, and those that it adopts from processes that are gone (rule R4).

    A process holds its directory as long as it lives; ``gone`` is told of those that are found unheld.
    """

    _root: Path
    _instance: str
    _play: Callable[[Caller, Heartbeat], Awaitable[Reply]]
    _report_limit: int = 10 * 2**20
    _total_limit: int = 2 * 2**30
    _gone: Callable[[Sequence[str]], Awaitable[None]] = _nobody_waits
    _ours: SpoolDirectory | None = None
    _adopted: list[SpoolDirectory] = field(factory=list)
    _waiting: int = 0
    _playing: bool = False
    pending: int = 0
    _line: Batcher[bytes, None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._line = Batcher(self._write)

    def open(self) -> None:
        """Hold our directory; called once at start, before requests are taken. Raises OSError."""
        self._ours = store.new(self._root / self._instance)
        self.pending = sum(1 for segment in self._ours.segments() for _ in store.read(segment))

    def close(self) -> None:
        for directory in (self._ours, *self._adopted):
            if directory is not None:
                directory.release()
        self._ours, self._adopted = None, []

    @property
    def unplayed(self) -> int:
        """How many reports are here that the database has not; an adopted directory counts as one."""
        return self.pending + sum(1 for directory in self._adopted if directory.size)

    @property
    def size(self) -> int:
        """Bytes of reports on the disk."""
        return sum(directory.size for directory in (self._ours, *self._adopted) if directory is not None)

    def add(self, caller: Caller, beat: Heartbeat) -> Deferred[None]:
        """Keep a report; fires when it is on the disk. Raises Busy when it is too large, or the spool or disk full."""
        record = store.packed({"caller": attrs.asdict(caller), "beat": _values(beat)})
        if len(record) > self._report_limit or self.size + self._waiting + len(record) > self._total_limit:
            SPOOL_REFUSED.labels("no room").inc()
            raise Busy("there is no room for the report while the database is away", retry_after=60)
        self._waiting += len(record)
        return self._line.submit(record)

    async def _write(self, records: list[bytes]) -> list[Exception | None]:
        assert self._ours is not None, "the spool is not open"
        reports = [record for record in records if record is not _CUT]
        try:
            await deferToThread(self._ours.append, reports)
            if len(reports) < len(records):
                await deferToThread(self._ours.end_segment)
        except OSError as error:
            log.critical("the spool cannot be written: {error}", error=error)
            return [Busy("the report cannot be kept", retry_after=60) for _ in records]
        finally:
            self._waiting -= sum(map(len, reports))
        self.pending += len(reports)
        return [None for _ in records]

    async def play(self) -> int:
        """Store what is spooled, here and in directories that nobody holds any more; how many reports were stored.

        Ends early, without loss, when the database goes away again.
        """
        if self._playing or self._ours is None:
            return 0
        self._playing = True
        try:
            found = await deferToThread(lambda: list(store.abandoned(self._root, self._root / self._instance)))
            self._adopted += found
            if found:
                await self._gone([directory.path.name for directory in found])
            return sum([await self._play_directory(one) for one in (self._ours, *self._adopted)])
        except DatabaseAway:
            return 0
        finally:
            self._playing = False
            self._let_go()

    def _let_go(self) -> None:
        for directory in [one for one in self._adopted if not one.size and not one.segments()]:
            directory.release()
            self._adopted.remove(directory)

    async def _play_directory(self, directory: SpoolDirectory) -> int:
        if directory is self._ours and self.pending:
            await self._line.submit(_CUT)
        played = 0
        for segment in directory.segments():
            records = await deferToThread(_read, segment)
            for start in range(0, len(records), TOGETHER):
                await self._play_records(directory, records[start : start + TOGETHER])
            directory.remove(segment)
            played += len(records)
            if directory is self._ours:
                self.pending -= len(records)
            log.info("stored {n} reports from the spool {path}", n=len(records), path=str(segment))
        return played

    async def _play_records(self, directory: SpoolDirectory, records: Sequence[bytes]) -> None:
        results = await gatherResults(
            [Deferred.fromCoroutine(self._play_one(record)) for record in records], consumeErrors=True
        )
        for record, fault in zip(records, results, strict=True):
            if isinstance(fault, _LATER):
                raise DatabaseAway()
            if fault is not None:
                SPOOL_REFUSED.labels("the database refuses it").inc()
                path = await deferToThread(directory.set_aside, record)
                log.critical("a spooled report is refused: {fault}; it is kept in {path}", fault=fault, path=str(path))

    async def _play_one(self, record: bytes) -> Exception | None:
        try:
            values = orjson.loads(record)
            caller = Caller(**{**values["caller"], **_tuples(values["caller"])})
            beat = Heartbeat(**{name: _time(name, value) for name, value in values["beat"].items()})
            await self._play(caller, beat)
        except (psycopg2.Error, PandaError, TypeError, ValueError, LookupError) as error:
            return error
        return None


def _read(segment: Path) -> list[bytes]:
    return list(store.read(segment))


def _values(beat: Heartbeat) -> dict[str, Any]:
    return attrs.asdict(beat, filter=lambda attribute, value: value != attribute.default)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) for name, value in values.items() if isinstance(value, list)}


def _time(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name in _TIMES and isinstance(value, str) else value
