"""The manhole: a Python prompt in the running server, over SSH with public keys, on localhost only (rule R30)."""

from __future__ import annotations

import io
import os
import stat
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from attrs import define, field, frozen
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.checkers import IAuthorizedKeysDB, SSHPublicKeyChecker
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.manhole import ColoredManhole, ManholeInterpreter
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm, TerminalSession
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.cred.portal import Portal
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from zope.interface import implementer  # type: ignore[import-untyped]

from pandatx.errors import EXIT_CONFIGURATION, EXIT_PORT, StartFault

log = Logger()

HOST_KEY = "manhole_host_key"

SIGNATURES = b"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256"
"""What operators' keys may sign with."""

# conch is untyped, and half of its interfaces know no self
_TerminalRealm: Any = TerminalRealm
_ServerProtocol: Any = ServerProtocol
_ConchFactory: Any = ConchFactory
_Checker: Any = SSHPublicKeyChecker
_Key: Any = Key


@define(eq=False)
class Manhole:
    """Listens on localhost for those whose keys stand in ``keys_file``; ``namespace`` is what the prompt knows.

    As root it stays shut unless ``as_root``. Only the first process of a state directory has ``port``.
    """

    _reactor: Any
    _port: int
    _keys_file: Path
    _state_dir: Path
    _namespace: Mapping[str, object]
    _as_root: bool = False
    _first: bool = True
    _listening: Any = field(default=None, init=False)

    def start(self) -> int | None:
        """The port, or None where it stays shut; StartFault for a keys file that others may write, or a taken port."""
        if os.geteuid() == 0 and not self._as_root:
            log.warn("no manhole: the server runs as root, and [pandatx] manhole_as_root is not set")
            return None
        if why := fault_of(self._keys_file):
            raise StartFault(EXIT_CONFIGURATION, f"[pandatx] manhole_keys {self._keys_file} {why}")
        factory = self._factory(host_key(self._state_dir / HOST_KEY))
        try:
            self._listening = self._reactor.listenTCP(
                self._port if self._first else 0, factory, interface="127.0.0.1", backlog=5
            )
        except CannotListenError as fault:
            raise StartFault(EXIT_PORT, f"[pandatx] manhole_port {self._port}: {fault.socketError}") from None
        port: int = self._listening.getHost().port
        log.info("manhole: ssh -p {port} 127.0.0.1", port=port)
        return port

    async def stop(self) -> None:
        """Close the port; who is inside stays until the server ends."""
        if self._listening is not None:
            await maybeDeferred(self._listening.stopListening)
            self._listening = None

    def _factory(self, key: Any) -> Any:
        realm = _TerminalRealm()
        realm.sessionFactory = Session
        realm.chainedProtocolFactory = lambda: _ServerProtocol(Prompt, dict(self._namespace))
        factory = _ConchFactory(Portal(realm, [_Checker(AuthorizedKeys(self._keys_file))]))
        factory.protocol = Transport
        factory.publicKeys = {b"ssh-ed25519": key.public()}
        factory.privateKeys = {b"ssh-ed25519": key}
        factory.noisy = False
        return factory


@implementer(IAuthorizedKeysDB)
@frozen
class AuthorizedKeys:
    """The keys of a file, read anew at each login: one taken out is out at once. The user name means nothing."""

    _path: Path

    def getAuthorizedKeys(self, username: bytes) -> Iterator[Any]:
        """conch asks for this. A line with options is passed over, since we could not keep to them."""
        if why := fault_of(self._path):
            log.error("nobody gets into the manhole: {path} {why}", path=str(self._path), why=why)
            return
        for number, text in enumerate(self._path.read_bytes().splitlines(), 1):
            if text.strip() and not text.lstrip().startswith(b"#"):
                try:
                    yield _Key.fromString(text.strip())
                except (BadKeyError, ValueError, IndexError):
                    log.warn("{path}, line {number} is not a plain public key", path=str(self._path), number=number)


class Transport(SSHServerTransport):
    """Says that keys of other kinds than the host's will do; conch does not, and OpenSSH then keeps RSA to itself."""

    def sendExtInfo(self, extensions: list[tuple[bytes, bytes]]) -> None:
        others = [(name, value) for name, value in extensions if name != b"server-sig-algs"]
        super().sendExtInfo([*others, (b"server-sig-algs", SIGNATURES)])  # type: ignore[no-untyped-call]


class Session(TerminalSession):
    """A session that ends with its input, may change its size, and says that there is a prompt only."""

    _proto: Any = None

    def openShell(self, proto: Any) -> None:
        self._proto = proto
        super().openShell(proto)  # type: ignore[no-untyped-call]

    def execCommand(self, proto: Any, cmd: bytes) -> None:
        proto.write(b"The manhole runs no commands; it has a prompt: ssh without one.\r\n")
        proto.loseConnection()

    def eofReceived(self) -> None:
        if self._proto is not None:
            self._proto.loseConnection()

    def windowChanged(self, newWindowSize: tuple[int, int, int, int]) -> None:
        """The prompt breaks no lines: nothing to do."""


class Prompt(ColoredManhole):
    """The prompt, which writes its commands to the log."""

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.interpreter = Recorder(self, self.namespace)  # type: ignore[no-untyped-call]


class Recorder(ManholeInterpreter):
    """Logs each command before it runs, without the texts in it, which may be secrets."""

    def runcode(self, code: CodeType) -> None:
        log.info("manhole: {command}", command=without_texts(b"\n".join(self.buffer).decode()))
        super().runcode(code)  # type: ignore[no-untyped-call]


def without_texts(source: str) -> str:
    """The command with *** for each literal text and comment; what cannot be read is not shown."""
    hidden = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return "(not Python)"
    if any(token.type == tokenize.ERRORTOKEN and token.string.strip() for token in tokens):
        return "(not Python)"
    lines = source.splitlines(keepends=True)
    for token in reversed([token for token in tokens if token.type in hidden]):
        (first, start), (last, end) = token.start, token.end
        lines[first - 1 : last] = [lines[first - 1][:start] + "***" + lines[last - 1][end:]]
    return "".join(lines).strip()


def fault_of(path: Path) -> str:
    """Why a file of keys is not to be trusted; empty if it is."""
    try:
        status = path.stat()
    except OSError as fault:
        return f"cannot be read: {fault.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "is not a file"
    if status.st_uid not in (0, os.geteuid()):
        return "belongs to another user"
    if status.st_mode & 0o022:
        return "can be written by others"
    return ""


def host_key(path: Path) -> Any:
    """The server's own ed25519 key, made at the first start and kept, so that clients know it again."""
    if not path.exists():
        private = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
    try:
        return _Key.fromString(path.read_bytes())
    except (BadKeyError, ValueError) as fault:
        raise StartFault(EXIT_CONFIGURATION, f"the manhole's host key {path} cannot be read: {fault}") from None
