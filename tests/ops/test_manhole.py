"""The manhole, with a real SSH client over a real port."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from twisted.conch.error import ConchError
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import packRequest_pty_req
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet import defer, reactor
from twisted.internet.protocol import ClientCreator
from twisted.logger import capturedLogs, formatEvent

from pandatx.errors import EXIT_CONFIGURATION, StartFault
from pandatx.ops.manhole import HOST_KEY, Manhole, without_texts


def new_key(private: Any = None) -> Key:
    return Key.fromString(
        (private or Ed25519PrivateKey.generate()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
    )


class Shell(SSHChannel):
    """Types some lines and keeps what comes back."""

    name = b"session"

    def __init__(self, lines: bytes, seen: defer.Deferred[bytes], eof: bool) -> None:
        super().__init__()
        self.lines, self.seen, self.text, self.eof = lines, seen, b"", eof

    def channelOpen(self, _: bytes) -> None:
        self.conn.sendRequest(self, b"pty-req", packRequest_pty_req(b"vt100", (80, 24, 0, 0), b""))
        self.conn.sendRequest(self, b"shell", b"")
        self.write(self.lines)
        if self.eof:
            self.conn.sendEOF(self)

    def dataReceived(self, data: bytes) -> None:
        self.text += data

    def closed(self) -> None:
        self.seen.callback(self.text)
        self.conn.transport.loseConnection()


class Login(SSHUserAuthClient):
    """Offers one key and a password; remembers what the server would take."""

    def __init__(self, key: Key, connection: SSHConnection, seen: defer.Deferred[bytes]) -> None:
        super().__init__(b"operator", connection)
        self.key, self.seen, self.offered = key, seen, False

    def getPublicKey(self) -> Key | None:
        offered, self.offered = self.offered, True
        return None if offered else self.key

    def getPrivateKey(self) -> defer.Deferred[Key]:
        return defer.succeed(self.key)

    def getPassword(self, prompt: bytes | None = None) -> defer.Deferred[bytes]:
        return defer.succeed(b"secret")

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> Any:
        length = int.from_bytes(packet[:4], "big")
        self.transport.factory_takes = packet[4 : 4 + length]
        return super().ssh_USERAUTH_FAILURE(packet)


class Client(SSHClientTransport):
    """A client that trusts the server it finds."""

    factory_takes = b""

    def __init__(self, key: Key, lines: bytes, seen: defer.Deferred[bytes], eof: bool) -> None:
        self.key, self.lines, self.seen, self.eof = key, lines, seen, eof
        self.fingerprint = b""

    def verifyHostKey(self, key: bytes, fingerprint: bytes) -> defer.Deferred[int]:
        self.fingerprint = fingerprint
        return defer.succeed(1)

    def connectionSecure(self) -> None:
        connection = SSHConnection()
        connection.serviceStarted = lambda: connection.openChannel(Shell(self.lines, self.seen, self.eof))
        self.requestService(Login(self.key, connection, self.seen))

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        if not self.seen.called:
            self.seen.errback(ConchError("refused"))


class Place:
    """A state directory, a file of keys and a manhole over them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = path / "authorized_keys"
        self.key = new_key()
        self.allow(self.key)
        self.manhole = self.open_one()

    def allow(self, *keys: Key) -> None:
        self.keys.write_bytes(b"# operators\n" + b"".join(key.public().toString("OPENSSH") + b"\n" for key in keys))
        self.keys.chmod(0o644)

    def open_one(self, **options: Any) -> Manhole:
        names = {"server": "the server", "answer": 42}
        return Manhole(reactor, 0, self.keys, self.path, names, **{"as_root": True, **options})

    async def type(self, port: int, key: Key, lines: bytes, eof: bool = False) -> tuple[bytes, Client]:
        seen: defer.Deferred[bytes] = defer.Deferred()
        seen.addTimeout(20, reactor)
        client = await ClientCreator(reactor, Client, key, lines, seen, eof).connectTCP("127.0.0.1", port)
        self.client = client
        return await seen, client


@pytest_twisted.async_yield_fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    await place.manhole.stop()


async def test_the_right_key_gets_a_prompt_that_knows_the_server(place: Place) -> None:
    port = place.manhole.start()
    assert port is not None
    text, _ = await place.type(port, place.key, b"print(server, answer * 2)\r\x04")
    assert b"the server 84" in text


@pytest.mark.parametrize(
    "private", [generate_private_key(SECP256R1()), generate_rsa_key(65537, 2048)], ids=["ec", "rsa"]
)
async def test_keys_of_other_kinds_do_as_well(place: Place, private: Any) -> None:
    key = new_key(private)
    place.allow(place.key, key)
    port = place.manhole.start()
    assert port is not None
    text, client = await place.type(port, key, b"print(answer)\r\x04")
    assert b"42" in text
    assert b"rsa-sha2-256" in client.peerExtensions[b"server-sig-algs"]


async def test_the_end_of_input_ends_the_session(place: Place) -> None:
    port = place.manhole.start()
    assert port is not None
    text, _ = await place.type(port, place.key, b"print(answer)\r", eof=True)
    assert b"42" in text


async def test_another_key_is_refused_and_a_password_is_not_even_asked_for(place: Place) -> None:
    port = place.manhole.start()
    assert port is not None
    with pytest.raises(ConchError):
        await place.type(port, new_key(), b"1\r\x04")
    assert place.client.factory_takes == b"publickey"


async def test_a_key_taken_out_of_the_file_is_out_at_once(place: Place) -> None:
    port = place.manhole.start()
    assert port is not None
    await place.type(port, place.key, b"\x04")
    place.allow(new_key())
    with pytest.raises(ConchError):
        await place.type(port, place.key, b"\x04")


async def test_a_line_with_options_lets_nobody_in(place: Place) -> None:
    place.keys.write_bytes(b'command="date" ' + place.key.public().toString("OPENSSH") + b"\n")
    port = place.manhole.start()
    assert port is not None
    with pytest.raises(ConchError):
        await place.type(port, place.key, b"\x04")


async def test_commands_are_logged_without_the_texts_in_them(place: Place) -> None:
    port = place.manhole.start()
    assert port is not None
    with capturedLogs() as events:
        await place.type(port, place.key, b"x = len('hunter2') + answer\r\x04")
    said = [formatEvent(event) for event in events if event.get("log_namespace") == "pandatx.ops.manhole"]
    assert "manhole: x = len(***) + answer" in said
    assert not any("hunter2" in text for text in said)


async def test_the_host_key_stays_and_is_ours_alone(place: Place) -> None:
    port = place.manhole.start()
    assert port is not None
    _, first = await place.type(port, place.key, b"\x04")
    await place.manhole.stop()
    port = place.manhole.start()
    assert port is not None
    _, second = await place.type(port, place.key, b"\x04")
    assert first.fingerprint == second.fingerprint
    assert (place.path / HOST_KEY).stat().st_mode & 0o777 == 0o600


async def test_as_root_it_stays_shut_unless_told_otherwise(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert place.open_one(as_root=False).start() is None


async def test_a_keys_file_that_others_may_write_is_refused(place: Place) -> None:
    place.keys.chmod(0o664)
    with pytest.raises(StartFault, match="can be written by others") as fault:
        place.manhole.start()
    assert fault.value.exit_code == EXIT_CONFIGURATION


async def test_a_keys_file_of_another_user_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = place.keys.stat().st_uid
    if owner == 0:
        os.chown(place.keys, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(StartFault, match="belongs to another user"):
        place.manhole.start()


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("db.run('SELECT 1', name=\"x\")", "db.run(***, name=***)"),
        ("f('''a\nb''')  # why", "f(***)  ***"),
        ("b'raw' + 1", "*** + 1"),
        ("f(", "(not Python)"),
    ],
)
def test_texts_in_a_command_are_hidden(source: str, shown: str) -> None:
    assert without_texts(source) == shown


def test_the_text_in_a_formatted_string_is_hidden() -> None:
    assert "hunter2" not in without_texts("f'hunter2 {answer}'")
