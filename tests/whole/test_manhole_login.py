"""ssh into the manhole of a running server (rule R30)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from server import Home, free_ports, until
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import packRequest_pty_req
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet import defer, reactor
from twisted.internet.protocol import ClientCreator

from pandatx.store.cluster import Cluster


def new_key() -> Any:
    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return Key.fromString(private)


class Shell(SSHChannel):
    """Types a line, then Ctrl-D, and keeps what comes back."""

    name = b"session"
    seen: Any = None
    text = b""

    def channelOpen(self, _: bytes) -> None:
        self.conn.sendRequest(self, b"pty-req", packRequest_pty_req(b"vt100", (80, 24, 0, 0), b""))
        self.conn.sendRequest(self, b"shell", b"")
        self.write(b"print(6 * 7, server, db, daemons, pool)\r\x04")

    def dataReceived(self, data: bytes) -> None:
        self.text += data

    def closed(self) -> None:
        self.seen.callback(self.text)
        self.conn.transport.loseConnection()


class Login(SSHUserAuthClient):
    """Offers the key it was given, if any, and a password."""

    key: Any = None
    tried = False

    def getPublicKey(self) -> Any:
        tried, self.tried = self.tried, True
        return None if tried else self.key

    def getPrivateKey(self) -> Any:
        return defer.succeed(self.key)

    def getPassword(self, prompt: Any = None) -> Any:
        return defer.succeed(b"secret")


class Client(SSHClientTransport):
    """Trusts the server that it finds."""

    key: Any = None
    seen: Any = None

    def verifyHostKey(self, key: bytes, fingerprint: bytes) -> Any:
        return defer.succeed(1)

    def connectionSecure(self) -> None:
        connection = SSHConnection()
        shell = Shell()
        shell.seen = self.seen
        connection.serviceStarted = lambda: connection.openChannel(shell)
        login = Login(b"root", connection)
        login.key = self.key
        self.requestService(login)

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        if not self.seen.called:
            self.seen.errback(PermissionError("refused"))


async def typed(port: int, key: Any) -> bytes:
    """What the prompt says; PermissionError for one who is not let in."""
    client = await ClientCreator(reactor, Client).connectTCP("127.0.0.1", port)
    client.key, client.seen = key, defer.Deferred()
    client.seen.addTimeout(20, reactor)
    return bytes(await client.seen)


async def test_the_right_key_gets_in_and_neither_another_nor_a_password(
    home_with: Callable[..., Home], cluster: Cluster, database_name: str
) -> None:
    home = home_with((cluster, database_name))
    (port,) = free_ports(1)
    right, keys = new_key(), home.path / "authorized_keys"
    keys.write_bytes(right.public().toString("OPENSSH") + b"\n")
    keys.chmod(0o600)
    home.set("pandatx", manhole_port=port, manhole_keys=keys, manhole_as_root="True")
    with home.server() as server:
        until(lambda: f"ssh -p {port}" in server.text, lambda: f"the manhole is open\n{server.text[-2000:]}", 10)
        text = await typed(port, right)
        assert b"42" in text and b"NameError" not in text
        for key in (new_key(), None):
            with pytest.raises(PermissionError):
                await typed(port, key)
