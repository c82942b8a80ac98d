"""A STOMP broker that is listened to: stomp.py in threads of its own, everything else in the reactor.

What it must not be trusted with ends here. Its threads are daemons, not the reactor's, since closing TLS may block for
ever, and a stop would wait for that. It tells why it could not connect to its log only. A connection on which nothing
comes for longer than was agreed is given up by us: its own watch blocks on a peer that is gone.
"""

from __future__ import annotations

import importlib.util
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Thread
from typing import Any, Final, TypeVar

from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.python.failure import Failure

from pandatx.config import MessagingSettings

T = TypeVar("T")

CONNECT_LIMIT: Final = 20.0
"""Seconds until the broker has greeted us."""
HEARTBEAT: Final = 30.0
SILENCE: Final = 2.5
"""Heartbeats that may fail to come."""
AT_ONCE: Final = 10
"""Messages that the broker may have sent before the first of them is acknowledged."""
_SUBSCRIPTION: Final = "pandatx"

Take = Callable[[str, bytes, Callable[[], bool]], Awaitable[bool]]
"""A message by its id and body, and whether it is still wanted; True: acknowledge it."""


class BrokerAway(Exception):
    """There is no connection to the broker any more, and why."""


@frozen
class Broker:
    """Connects to one broker, and gives its messages away one by one."""

    _reactor: Any
    _settings: MessagingSettings

    @property
    def name(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    @property
    def destination(self) -> str:
        return self._settings.destination or ""

    @staticmethod
    def installed() -> bool:
        """Whether the extra ``messaging`` is there."""
        return importlib.util.find_spec("stomp") is not None

    async def listen(self, listening: Listening, take: Take, up: Callable[[], None]) -> None:
        """Give messages to ``take`` until the connection is lost, which raises BrokerAway; ``up`` when it is there.

        A message that was not acknowledged comes again, here or to another server.
        """
        connection = await self._in_thread(self._open, listening)
        try:
            await listening.greeted(CONNECT_LIMIT)
            await self._in_thread(self._subscribe, connection)
            up()
            while True:
                message_id, ack, body = await listening.next()
                if await take(message_id, body, lambda: listening.lives):
                    self._in_thread(connection.ack, ack).addErrback(listening.failed)
        finally:
            listening.lose("closed")
            self._in_thread(_close, connection).addErrback(lambda failure: None)

    def new(self) -> Listening:
        """For one call of ``listen``, which its ``lose`` ends."""
        return Listening(self._reactor)

    def _in_thread(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        done: Deferred[T] = Deferred()

        def run() -> None:
            try:
                result = work(*args)
            except Exception as fault:  # the edge of a thread: whatever it is belongs to the caller
                self._reactor.callFromThread(_unless_called, done.errback, done, fault)
            else:
                self._reactor.callFromThread(_unless_called, done.callback, done, result)

        Thread(target=run, name="stomp", daemon=True).start()
        return done

    # In threads.

    def _open(self, listening: Listening) -> Any:
        import stomp

        _LAST_WORD.text = ""
        at = (str(self._settings.host), self._settings.port)
        beat = int(HEARTBEAT * 1000)
        connection = stomp.StompConnection12(
            [at],
            heartbeats=(beat, beat),
            timeout=CONNECT_LIMIT / 2,
            reconnect_attempts_max=1,
            auto_decode=False,
            prefer_localhost=False,
            try_loopback_connect=False,
        )
        connection.set_listener("pandatx", listening)
        try:
            if self._settings.tls:
                connection.set_ssl(for_hosts=[at], **self._tls())
            named = {"client-id": self._settings.subscription} if self._settings.subscription else {}
            connection.connect(self._settings.user, self._settings.password, headers=named)
        except (stomp.exception.StompException, OSError) as fault:
            raise BrokerAway(_LAST_WORD.text or _said(fault)) from fault
        return connection

    def _tls(self) -> dict[str, str | None]:
        """The files, each of which must be there: stomp.py tries for ever to find one that is not."""
        files = {"ca_certs": self._settings.ca, "cert_file": self._settings.certificate, "key_file": self._settings.key}
        for path in filter(None, files.values()):
            with Path(path).open("rb"):
                pass
        return {name: None if path is None else str(path) for name, path in files.items()}

    def _subscribe(self, connection: Any) -> None:
        headers: dict[str, Any] = {"activemq.prefetchSize": AT_ONCE, "prefetch-count": AT_ONCE}
        if self._settings.subscription:
            headers["activemq.subscriptionName"] = self._settings.subscription
            headers["durable-subscription-name"] = self._settings.subscription
        connection.subscribe(self.destination, _SUBSCRIPTION, ack="client-individual", headers=headers)


@define(eq=False)
class Listening:
    """One connection as stomp.py tells of it from its threads (methods named on_), made into events of the reactor."""

    _reactor: Any
    lives: bool = field(init=False, default=True)
    _why: str = field(init=False, default="")
    _greeting: Deferred[None] = field(init=False, factory=Deferred)
    _messages: deque[tuple[str, str, bytes]] = field(init=False, default=Factory(deque))
    _asked: Deferred[None] | None = field(init=False, default=None)
    _longest: float | None = field(init=False, default=None)
    _watch: Any = field(init=False, default=None)

    async def greeted(self, limit: float) -> None:
        """Wait until the broker has said that we are connected."""
        self._greeting.addTimeout(limit, self._reactor)
        try:
            await self._greeting
        except Overdue:
            raise BrokerAway(f"it said nothing for {limit:g} s") from None
        if not self.lives:
            raise BrokerAway(self._why)

    async def next(self) -> tuple[str, str, bytes]:
        """The next message: its id, what it is acknowledged by, its body. Raises BrokerAway."""
        while self.lives and not self._messages:
            self._asked = Deferred()
            await self._asked
        if not self.lives:
            raise BrokerAway(self._why)
        return self._messages.popleft()

    def lose(self, why: str) -> None:
        """The connection is of no use any more; what was not acknowledged will come again."""
        if not self.lives:
            return
        self.lives, self._why = False, self._why or why
        self._messages.clear()
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        if not self._greeting.called:
            self._greeting.callback(None)
        self._wake()

    def failed(self, failure: Failure) -> None:
        """What is done with the connection does not work."""
        self.lose(failure.getErrorMessage())

    def _wake(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.callback(None)

    def _heard(self) -> None:
        if self.lives and self._longest is not None:
            if self._watch is not None and self._watch.active():
                self._watch.reset(self._longest)
            else:
                self._watch = self._reactor.callLater(self._longest, self.lose, f"silent for {self._longest:g} s")

    def _connected(self, beat: str) -> None:
        theirs = float(beat.partition(",")[0] or 0) / 1000
        self._longest = SILENCE * max(theirs, HEARTBEAT) if theirs else None
        self._heard()
        if self.lives and not self._greeting.called:
            self._greeting.callback(None)

    def _came(self, message: tuple[str, str, bytes]) -> None:
        self._heard()
        if self.lives:
            self._messages.append(message)
            self._wake()

    def _complained(self, text: str) -> None:
        self._why = self._why or text

    # In stomp.py's threads.

    def on_connected(self, frame: Any) -> None:
        self._reactor.callFromThread(self._connected, frame.headers.get("heart-beat", ""))

    def on_message(self, frame: Any) -> None:
        headers = frame.headers
        message_id = headers.get("message-id", "")
        self._reactor.callFromThread(self._came, (message_id, headers.get("ack", message_id), frame.body))

    def on_heartbeat(self) -> None:
        self._reactor.callFromThread(self._heard)

    def on_error(self, frame: Any) -> None:
        text = f"{frame.headers.get('message', '')} {(frame.body or b'').decode(errors='replace')}"
        self._reactor.callFromThread(self._complained, " ".join(text.split())[:300])

    def on_disconnected(self) -> None:
        self._reactor.callFromThread(self.lose, "the connection was lost")

    def on_heartbeat_timeout(self) -> None:
        self._reactor.callFromThread(self.lose, "its heartbeat did not come")


def _close(connection: Any) -> None:
    """Say good-bye if anybody listens, and drop the socket."""
    try:
        connection.disconnect()
    finally:
        connection.transport.disconnect_socket()


def _unless_called(report: Callable[[Any], None], done: Deferred[Any], result: Any) -> None:
    if not done.called:
        report(result)


def _said(fault: BaseException) -> str:
    return f"{type(fault).__name__}: {fault}".removesuffix(": ")


class _LastWord(logging.Handler):
    """Keeps the last warning of stomp.py, which has the reason of a fault, and lets nothing else of it into any log."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


_LAST_WORD: Final = _LastWord(logging.WARNING)
logging.getLogger("stomp.py").addHandler(_LAST_WORD)
logging.getLogger("stomp.py").propagate = False
