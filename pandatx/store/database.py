"""Named transactions over PostgreSQL: limited in time, retried when it is safe, shielded from cancellation.

The only importer of txpostgres. Its traps (reference/stack.md 1.1) end here: sessions are checked when they come back,
a cancelled statement keeps its error, and libpq's blocking cancel is not used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg2
import psycopg2.extensions
from attrs import define, field
from psycopg2 import errorcodes
from twisted.internet import defer
from twisted.internet.error import ConnectionClosed
from twisted.logger import Logger
from txpostgres import txpostgres

from pandatx.clock import Clock
from pandatx.config import DatabaseSettings, Schemas
from pandatx.errors import Busy, DatabaseAway, PandaError
from pandatx.metrics import (
    TRANSACTION_RETRIES,
    TRANSACTION_SECONDS,
    TRANSACTIONS_TIMED_OUT,
)
from pandatx.store.addresses import Addresses, NoAddress
from pandatx.store.pool import Pool
from pandatx.store.queries import Query
from pandatx.store.results import NUMERIC, TIMESTAMP, Result

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 4
"""How often a transaction is tried at most: a deadlock is retried three times (rule R1)."""
CANCEL_GRACE = 2.0
"""Seconds between the limit in the server, the cancel request, and the end of the session."""
LONGEST = 60.0 - 2 * CANCEL_GRACE
"""Seconds that a transaction may take at the most, whatever is configured: none of ours lives over a minute (R5)."""
CONNECT_LIMIT = 10.0
"""Seconds to connect; libpq's own limit does not count for one that does not block."""
LEARNING = 1.0
"""Seconds that it is asked at least how a commit ended, where none are left of its patience."""
HOT_SETTINGS = (
    "plan_cache_mode=force_generic_plan",
    "enable_seqscan=off",
    "enable_bitmapscan=off",
    "enable_hashjoin=off",
    "enable_mergejoin=off",
)
"""Planner guards of the request pool: a generic plan made on an empty table stays (reference/database.md 7)."""
UNSTORABLE = (ValueError, TypeError, psycopg2.DataError, psycopg2.IntegrityError)
"""What a value is met with that no column takes; the dialects have bounded all that they know of."""
_RETRIED = frozenset((errorcodes.DEADLOCK_DETECTED, errorcodes.SERIALIZATION_FAILURE))
_FORGOTTEN = frozenset(
    (errorcodes.INVALID_SQL_STATEMENT_NAME, errorcodes.DUPLICATE_PREPARED_STATEMENT, errorcodes.FEATURE_NOT_SUPPORTED)
)
"""What a session says whose prepared statements are not what we think, after DISCARD or a change of a table."""
_UNABLE = ("53", "58")
"""Classes of errors that say nothing of what was asked: no room, no memory, a fault of the system."""
_NUMBER = Query(name="transaction_number", text="SELECT pg_current_xact_id()::text::bigint")
_inside: ContextVar[str | None] = ContextVar("transaction", default=None)


class OutcomeUnknown(DatabaseAway):
    """The connection was lost while a commit was under way, and nobody could be asked how it ended."""

    def __init__(self) -> None:
        super().__init__("the database went away while it was storing this")


class _Cursor(txpostgres.Cursor):  # type: ignore[misc]
    def _handleCancellation(self, failure: Any) -> Any:
        return failure  # keep QueryCanceled with its code


class _Connection(txpostgres.Connection):  # type: ignore[misc]
    cursorFactory = _Cursor

    def doRead(self) -> Any:
        """Of a session that ends while nothing runs on it, the reactor is told and not the log."""
        try:
            return super().doRead()
        except psycopg2.Error as error:
            return error

    def _handleCancellation(self, failure: Any) -> Any:
        return failure


@define(eq=False)
class Session:
    """One connection and what has been prepared on it."""

    _connection: _Connection
    _schemas: Schemas
    _prepared: set[str] = field(factory=set)
    _texts: dict[str, str] = field(factory=dict)
    doomed: bool = False
    overdue: bool = False
    backend: int = 0
    epoch: Any = None
    """Differs once the server has been through a crash."""

    @property
    def announced(self) -> int:
        """The backend's number as it was told when we connected; a pooler tells another one than the backend itself."""
        return int(self._connection.pollable().info.backend_pid)

    @property
    def closed(self) -> bool:
        raw = self._connection.pollable()
        return raw is None or bool(raw.closed)

    @property
    def usable(self) -> bool:
        """Connected, and outside any transaction."""
        if self.doomed or self.closed:
            return False
        status = self._connection.pollable().info.transaction_status
        return bool(status == psycopg2.extensions.TRANSACTION_STATUS_IDLE)

    @property
    def in_transaction(self) -> bool:
        status = self._connection.pollable().info.transaction_status
        return status in (
            psycopg2.extensions.TRANSACTION_STATUS_INTRANS,
            psycopg2.extensions.TRANSACTION_STATUS_INERROR,
        )

    def close(self) -> None:
        if self._connection.pollable() is not None:
            self._connection.close()

    async def run(self, query: Query, params: dict[str, Any], before: str = "") -> Result:
        """Run a query, ``before`` it in the same trip."""
        if query.parameters:
            text = query.execute
            if query.name not in self._prepared:
                text = f"{query.prepare(self._schemas).replace('%', '%%')}; {text}"
        else:
            text = self._texts.get(query.text) or self._texts.setdefault(query.text, query.in_schemas(self._schemas))
        try:
            result = await self.execute(before + text, params)
        except BaseException:  # nobody knows now whether it is prepared
            self.doomed = self.doomed or bool(query.parameters and query.name not in self._prepared)
            raise
        if query.parameters:
            self._prepared.add(query.name)
        return result

    async def execute(self, text: str, params: dict[str, Any] | None = None) -> Result:
        cursor = self._connection.cursor()
        try:
            await cursor.execute(text, params)
            if cursor.description is None:
                return Result([], (), cursor.rowcount)
            return Result(cursor.fetchall(), tuple(c.name for c in cursor.description), cursor.rowcount)
        except ConnectionClosed as error:  # we have closed it while it waited for the server
            raise psycopg2.OperationalError("the session was ended") from error
        finally:
            if not self.closed:
                cursor.close()


@define(eq=False)
class Transaction:
    """An open transaction: what an operation's work takes first."""

    name: str
    _session: Session
    _prologue: str
    xid: int | None = None
    _last: dict[Callable[..., Awaitable[None]], tuple[list[Any], datetime]] = field(factory=dict)

    async def run(self, query: Query, **params: Any) -> Result:
        """Run one query; the first one begins the transaction in the same trip."""
        prologue, self._prologue = self._prologue, ""
        return await self._session.run(query, params, prologue)

    async def identify(self) -> None:
        """Learn the transaction's number, by which its end is looked up when the answer to its commit is lost. For what
        must not be done twice.
        """
        self.xid = (await self.run(_NUMBER)).scalar()

    def at_end(
        self, work: Callable[[Transaction, list[T], datetime], Awaitable[None]], items: Iterable[T], now: datetime
    ) -> None:
        """Have ``work(tx, items, now)`` done before the commit, after everything else, so that its locks come last
        (rule R1); what is left for the same work is done together."""
        self._last.setdefault(work, ([], now))[0].extend(items)

    async def finish(self) -> None:
        """Do what was left for the end."""
        for work, (items, now) in self._last.items():
            await work(self, items, now)

    @property
    def begun(self) -> bool:
        return not self._prologue


@define(eq=False)
class Database:
    """A pool of sessions and the transactions on it.

    ``conninfo`` is libpq's, without a password in it where one is given apart; ``hot`` sets the planner guards.
    """

    name: str
    conninfo: str
    _clock: Clock
    schemas: Schemas
    size: int
    statement_timeout: float = 30.0
    hot: bool = False
    application_name: str = "pandatx"
    max_waiting: int = 500
    longest: float = LONGEST
    pool: Pool[Session] = field(init=False)
    _addresses: Addresses = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._addresses = Addresses(self._clock.reactor)
        self.pool = Pool(self.name, self.size, self.max_waiting, self._clock, self.connect)

    def start(self) -> None:
        """Begin to connect; the first transaction waits for a session."""
        self.pool.start()

    async def stop(self) -> None:
        await self.pool.stop()

    @property
    def up(self) -> bool:
        return self.pool.up

    @property
    def why_down(self) -> str:
        """What the last attempt to connect met."""
        return self.pool.last_fault or "the database cannot be reached"

    async def statement(
        self, name: str, query: Query, *, patience: float = 5.0, timeout: float | None = None, **params: Any
    ) -> Result:
        """A transaction of one statement, in one round trip; tried again when the session turns out to be dead.

        For reads, and for writes that may be done twice: after a lost connection nobody knows whether it was done.
        """

        async def work(session: Session) -> Result:
            return await session.run(query, params)

        return await self._shielded(name, work, self.statement_timeout if timeout is None else timeout, patience)

    async def transaction(
        self,
        name: str,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(tx, *args)`` as one transaction under its name.

        ``work`` does only SQL and may run again after a deadlock, a serialization failure or a connection that was
        lost before its commit. Cancelling the caller does not cancel it. Raises Busy when too many wait already,
        DatabaseAway without a database, OutcomeUnknown when the commit's end could not be learned.
        """
        return await self.limited(name, self.statement_timeout, 5.0, work, *args, **kwargs)

    async def limited(
        self,
        name: str,
        timeout: float,
        patience: float,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """``transaction`` with its own limits: ``timeout`` seconds a statement, ``patience`` seconds for a session."""
        until = self._clock.seconds() + patience

        async def whole(session: Session) -> T:
            prologue = f"BEGIN; SET LOCAL statement_timeout = {int(min(timeout, self.longest) * 1000)}; "
            tx = Transaction(name, session, prologue)
            token = _inside.set(name)
            try:
                result = await work(tx, *args, **kwargs)
                await tx.finish()
            finally:
                _inside.reset(token)
            if tx.begun:
                await self._commit(session, tx, max(until - self._clock.seconds(), LEARNING))
            return result

        return await self._shielded(name, whole, timeout, patience)

    async def _shielded(
        self, name: str, whole: Callable[[Session], Awaitable[T]], timeout: float, patience: float
    ) -> T:
        if (outer := _inside.get()) is not None:
            raise RuntimeError(f"transaction {name} inside {outer}: one transaction per context (rule R6)")
        limit = min(timeout, self.longest)
        done: defer.Deferred[T] = defer.Deferred.fromCoroutine(self._attempts(name, whole, limit, patience))
        return await shield(done)

    async def _attempts(
        self, name: str, whole: Callable[[Session], Awaitable[T]], timeout: float, patience: float
    ) -> T:
        until = self._clock.seconds() + patience
        for attempt in range(1, ATTEMPTS + 1):
            session = await self.pool.acquire(patience if attempt == 1 else max(until - self._clock.seconds(), 1.0))
            started = self._clock.seconds()
            deadline = self._clock.reactor.callLater(timeout + CANCEL_GRACE, self._overdue, name, session)
            try:
                return await whole(session)
            except PandaError:
                await self._roll_back(session)
                raise
            except psycopg2.Error as error:
                await self._roll_back(session)
                self._judge(name, session, error, attempt)
            except BaseException:
                await self._roll_back(session)
                raise
            finally:
                if deadline.active():
                    deadline.cancel()
                TRANSACTION_SECONDS.labels(name).observe(self._clock.seconds() - started)
                self.pool.release(session)
            TRANSACTION_RETRIES.labels(name).inc()
        raise Busy(f"{name} met other transactions too often")

    def _judge(self, name: str, session: Session, error: psycopg2.Error, attempt: int) -> None:
        """Return where the work is known not to be committed and worth another try, else raise what it failed with."""
        code = error.pgcode or ""
        if session.overdue or code == errorcodes.QUERY_CANCELED:
            TRANSACTIONS_TIMED_OUT.labels(name).inc()
            raise Busy(f"{name}: the database takes too long") from error
        if session.closed:
            self.pool.discard_idle()
            if attempt >= ATTEMPTS:
                raise DatabaseAway() from error
        elif code == errorcodes.READ_ONLY_SQL_TRANSACTION:  # a standby now: the connection string may know another
            session.doomed = True
            raise DatabaseAway("the database is read-only") from error
        elif code.startswith(_UNABLE):
            raise DatabaseAway(f"the database cannot do this now: {_first_line(error)}") from error
        elif code in _FORGOTTEN and attempt < ATTEMPTS:
            session.doomed = True
        elif code not in _RETRIED:
            raise error

    async def _commit(self, session: Session, tx: Transaction, patience: float) -> None:
        try:
            await session.execute("COMMIT")
        except psycopg2.Error:
            if not session.closed:
                raise
            status = None if tx.xid is None else await self._ending(tx.xid, session.epoch, patience)
            if status == "aborted":
                raise
            if status != "committed":
                raise OutcomeUnknown() from None

    async def _ending(self, xid: int, epoch: Any, patience: float) -> str | None:
        """Ask another session how a transaction ended, until it has; None where ``patience`` seconds do not teach that:
        others wait in line behind it.

        After a crash of the server the number may have been given to another transaction.
        """
        self.pool.discard_idle()
        until = self._clock.seconds() + patience
        while (left := until - self._clock.seconds()) > 0:
            with suppress(Busy, psycopg2.Error):
                session = await self.pool.acquire(left)
                try:
                    if session.epoch != epoch:
                        return None
                    status = (await session.execute(f"SELECT pg_xact_status('{xid}'::xid8)")).scalar()
                finally:
                    self.pool.release(session)
                if status != "in progress":
                    return str(status)
            await self._clock.wait(0.25)
        return None

    async def _roll_back(self, session: Session) -> None:
        if session.closed or not session.in_transaction:
            return
        try:
            await session.execute("ROLLBACK")
        except psycopg2.Error:
            session.doomed = True

    def _overdue(self, name: str, session: Session) -> None:
        """The limit in the server did not end a statement: cancel it, and if that is not obeyed, its session."""
        log.warn("{name}: over its time limit, cancelling", name=name)
        session.doomed = session.overdue = True
        cancelling = defer.Deferred.fromCoroutine(self._cancel(session))
        cancelling.addErrback(lambda failure: log.warn("cancel: {f}", f=failure.getErrorMessage()))
        self._clock.reactor.callLater(CANCEL_GRACE, self._end, session)

    async def _cancel(self, session: Session) -> None:
        """Have the server end what a session runs, over another one. libpq's own way, as psycopg2 calls it, holds this
        whole process, in whatever thread it is called, for as long as the server does not answer.
        """
        other = await self.connect()
        limit = self._clock.reactor.callLater(CANCEL_GRACE, other.close)
        try:
            if not session.closed:
                await other.execute(f"SELECT pg_cancel_backend({session.backend})")
        finally:
            if limit.active():
                limit.cancel()
            other.close()

    def _end(self, session: Session) -> None:
        if session.doomed and not session.closed and session in self.pool.sessions:
            self.pool.discard_idle()  # who does not obey may be frozen, and then none of the others answers either
            session.close()

    async def connect(self) -> Session:
        """A new session outside the pool, for the caller to close. Raises DatabaseAway."""
        connection = _Connection(reactor=self._clock.reactor)
        session = Session(connection, self.schemas)
        try:
            conninfo = await self._addresses.put_into(f"{self.conninfo} application_name={self.application_name}")
        except (psycopg2.Error, NoAddress) as error:
            raise DatabaseAway(f"the database cannot be reached: {_first_line(error)}") from error
        limit = self._clock.reactor.callLater(CONNECT_LIMIT, session.close)
        try:
            await connection.connect(conninfo)
            raw = connection.pollable()
            psycopg2.extensions.register_type(TIMESTAMP, raw)
            psycopg2.extensions.register_type(NUMERIC, raw)
            session.backend, session.epoch = (await session.execute(self._session_settings())).rows[0]
        except (psycopg2.Error, ConnectionError, ConnectionClosed) as error:
            session.close()
            why = _first_line(error) if limit.active() else f"no answer within {CONNECT_LIMIT:.0f} s"
            raise DatabaseAway(f"the database cannot be reached: {why}") from error
        finally:
            if limit.active():
                limit.cancel()
        return session

    def _session_settings(self) -> str:
        settings = [
            "timezone='UTC'",
            f"statement_timeout={int(min(self.statement_timeout, self.longest) * 1000)}",
            "idle_in_transaction_session_timeout=60000",
            "jit=off",
            *(HOT_SETTINGS if self.hot else ()),
        ]
        # A crash makes PostgreSQL forget its statistics: when it last did tells one run of it from the next.
        tail = "SELECT pg_backend_pid(), stats_reset FROM pg_stat_archiver"
        return "; ".join((*(f"SET {setting}" for setting in settings), tail))


def shield(running: defer.Deferred[T]) -> defer.Deferred[T]:
    """Wait for ``running`` without passing a cancellation on to it: Klein cancels when a client hangs up."""
    outer: defer.Deferred[T] = defer.Deferred()
    running.addCallbacks(
        lambda result: None if outer.called else outer.callback(result),
        lambda failure: None if outer.called else outer.errback(failure),
    )
    return outer


def conninfo_of(settings: DatabaseSettings) -> str:
    """libpq's connection string for an external database."""
    return psycopg2.extensions.make_dsn(
        host=settings.host,
        port=settings.port or None,
        user=settings.user,
        password=settings.password or None,
        dbname=settings.name,
        keepalives_idle=30,
        keepalives_interval=30,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def in_batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """``items`` cut into runs of at most ``size``."""
    return [items[start : start + size] for start in range(0, len(items), size)]
