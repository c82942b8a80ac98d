"""A STOMP broker for tests: one queue on loopback; what is not acknowledged when a connection ends comes again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater


class Session(Protocol):
    """One client."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.buffer = b""
        self.subscription = ""
        self.unacknowledged: dict[str, tuple[str, bytes]] = {}

    def connectionMade(self) -> None:
        self.broker.sessions.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while b"\0" in self.buffer:
            frame, _, self.buffer = self.buffer.partition(b"\0")
            head = frame.lstrip(b"\r\n").partition(b"\n\n")[0]
            command, *lines = head.decode().splitlines()
            headers = dict(line.partition(":")[::2] for line in lines)
            self.broker.frames.append((command, headers))
            getattr(self, command.lower())(headers)

    def frame(self, command: str, body: bytes = b"", **headers: Any) -> None:
        lines = [command, *(f"{name.replace('_', '-')}:{value}" for name, value in headers.items())]
        self.transport.write("\n".join(lines).encode() + b"\n\n" + body + b"\0")

    def stomp(self, headers: dict[str, str]) -> None:
        if self.broker.mute:
            return
        if headers.get("passcode") != self.broker.password:
            self.frame("ERROR", b"go away", message="access refused")
            self.transport.loseConnection()
            return
        self.frame("CONNECTED", version="1.2", heart_beat=self.broker.heart_beat)

    def subscribe(self, headers: dict[str, str]) -> None:
        self.subscription = headers["id"]
        self.broker.deliver()

    def message(self, message_id: str, body: bytes) -> None:
        self.unacknowledged[message_id] = (message_id, body)
        self.frame(
            "MESSAGE",
            body,
            message_id=message_id,
            ack=f"ack-{message_id}",
            subscription=self.subscription,
            destination="/queue/x",
            content_length=len(body),
        )

    def ack(self, headers: dict[str, str]) -> None:
        message_id = headers["id"].removeprefix("ack-")
        self.unacknowledged.pop(message_id)
        self.broker.acknowledged.append(message_id)

    def disconnect(self, headers: dict[str, str]) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.broker.sessions.remove(self)
        self.broker.queue[:0] = list(self.unacknowledged.values())
        self.broker.deliver()


@define(eq=False)
class Broker:
    """The broker, its queue, and all that clients have said."""

    password: str | None = None
    heart_beat: str = "0,0"
    mute: bool = False
    queue: list[tuple[str, bytes]] = field(factory=list)
    sessions: list[Session] = field(factory=list)
    frames: list[tuple[str, dict[str, str]]] = field(factory=list)
    acknowledged: list[str] = field(factory=list)
    port: int = 0
    _listening: Any = None

    def start(self, context: Any = None) -> None:
        factory = Factory()
        factory.buildProtocol = lambda address: Session(self)
        listen = reactor.listenSSL if context is not None else reactor.listenTCP
        extra = (context,) if context is not None else ()
        self._listening = listen(self.port, factory, *extra, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def stop(self) -> None:
        self.drop()
        if self._listening is not None:
            listening, self._listening = self._listening, None
            await listening.stopListening()
        await until(lambda: not self.sessions)

    def drop(self) -> None:
        """End all connections."""
        for session in self.sessions:
            session.transport.abortConnection()

    def send(self, message_id: str, body: bytes) -> None:
        self.queue.append((message_id, body))
        self.deliver()

    def deliver(self) -> None:
        for session in self.sessions:
            while session.subscription and self.queue:
                session.message(*self.queue.pop(0))

    def said(self, command: str) -> list[dict[str, str]]:
        return [headers for name, headers in self.frames if name == command]


async def until(condition: Callable[[], Any], limit: float = 20.0) -> None:
    """Wait for a condition."""
    end = reactor.seconds() + limit
    while not condition():
        assert reactor.seconds() < end, "it did not come to that"
        await deferLater(reactor, 0.005)
