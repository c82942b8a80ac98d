"""A token issuer for tests: real HTTP on loopback with discovery, keys, the device flow and a token endpoint.

In the process of a test it is served by the reactor. A test that blocks the reactor starts it as a process:
``python tests/issuer.py PORT KEYFILE``, and signs tokens with the same key.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
from attrs import define, field
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.web.resource import Resource
from twisted.web.server import Site

CLIENT, ROBOT, SECRET = "panda-client", "pilot-robot", "robot's secret"
HOUR = 3600


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key; the same for the same number, since making one takes its time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found


def private_pem(key: Any) -> bytes:
    found: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return found


def jwk(kid: str, key: Any, **more: Any) -> dict[str, Any]:
    """The public half of a key as a JWKS has it."""
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


@define(eq=False)
class Issuer:
    """Signs tokens and answers. ``keys`` are what it publishes by kid; it signs with the one of ``kid``."""

    url: str = ""
    slash: str = "/"
    """What its own name ends with behind the URL."""
    kid: str = "first"
    keys: dict[str, Any] = field(factory=lambda: {"first": rsa_key()})
    asked: list[str] = field(factory=list)
    pending: int = 1
    """How often a poll of the device flow is told to wait."""
    lifetime: int = HOUR
    profile: dict[str, Any] = field(
        factory=lambda: {
            "sub": "0b1e-jane",
            "name": "jane ROE",
            "preferred_username": "jroe",
            "groups": ["/atlas", "/atlas/pilot"],
        }
    )
    """Claims of whoever goes through the device flow."""
    _codes: dict[str, int] = field(factory=dict)
    _port: Any = None

    @property
    def name(self) -> str:
        return self.url + self.slash

    @property
    def discovery(self) -> str:
        return f"{self.url}/.well-known/openid-configuration"

    def rotate(self, kid: str, number: int = 1) -> None:
        """From now on there is another key, and no older one."""
        self.keys, self.kid = {kid: rsa_key(number)}, kid

    def token(self, *, now: float | None = None, key: Any = None, alg: str = "RS256", **claims: Any) -> str:
        """A token with the claims of the profile; None takes a claim away, ``kid`` changes the header."""
        begun = int(time.time() if now is None else now)
        kid = claims.pop("kid", self.kid)
        told = {"iss": self.name, "aud": CLIENT, "iat": begun, "nbf": begun, "exp": begun + self.lifetime}
        told |= {**self.profile, **claims}
        told = {name.replace("__", "."): value for name, value in told.items() if value is not None}
        signing = key if key is not None else self.keys.get(kid, rsa_key())
        headers = {} if kid is None else {"kid": kid}
        return jwt.PyJWS().encode(json.dumps(told).encode(), None if alg == "none" else signing, alg, headers)

    def robots_token(self, **claims: Any) -> str:
        """A token of a service client by client credentials: no name, no groups, no audience."""
        nobody = dict.fromkeys((*self.profile, "aud"))
        return self.token(**{**nobody, "sub": ROBOT, "client_id": ROBOT, **claims})

    # What it answers.

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.name,
                "jwks_uri": f"{self.url}/jwks",
                "device_authorization_endpoint": f"{self.url}/device",
                "token_endpoint": f"{self.url}/token",
            }
        if path == "/jwks":
            return 200, {"keys": [jwk(kid, key) for kid, key in self.keys.items()]}
        return 404, {"error": "not_found"}

    def post(self, path: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        self.asked.append(f"{path} {form.get('grant_type', '')}".strip())
        if path == "/device":
            self._codes[code := f"code{len(self._codes)}"] = self.pending
            shown = f"{self.url}/verify?user_code=ABCD"
            return 200, {"device_code": code, "verification_uri_complete": shown, "expires_in": 60, "interval": 0}
        if path == "/token":
            return self._grant(form)
        return 404, {"error": "not_found"}

    def _grant(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        match form.get("grant_type"):
            case "client_credentials" if form.get("client_secret") == SECRET:
                return 200, {"access_token": self.robots_token(), "expires_in": self.lifetime}
            case "client_credentials":
                return 401, {"error": "invalid_client"}
            case "refresh_token" if form.get("refresh_token") == "again":
                return 200, self._both()
            case "urn:ietf:params:oauth:grant-type:device_code" if form.get("device_code") in self._codes:
                self._codes[form["device_code"]] -= 1
                if self._codes[form["device_code"]] >= 0:
                    return 400, {"error": "authorization_pending"}
                return 200, self._both()
        return 400, {"error": "invalid_grant"}

    def _both(self) -> dict[str, Any]:
        token = self.token()
        return {"id_token": token, "access_token": token, "refresh_token": "again", "expires_in": self.lifetime}

    # Where it answers.

    def listen(self, port: int = 0, tls: Any = None) -> None:
        """Serve in this process; again on the same port after ``leave``. ``tls`` is a factory of contexts."""
        from twisted.internet import reactor

        found: Any = reactor
        if tls is None:
            self._port = found.listenTCP(port, Site(_Page(self)), interface="127.0.0.1")
            self.url = f"http://127.0.0.1:{self._port.getHost().port}"
        else:
            self._port = found.listenSSL(port, Site(_Page(self)), tls, interface="127.0.0.1")
            self.url = f"https://localhost:{self._port.getHost().port}"

    async def leave(self) -> int:
        """Go away: connections are refused. The port, for ``listen``."""
        if self._port.connected:
            await self._port.stopListening()
        return int(self.url.rpartition(":")[2])


class _Page(Resource):
    isLeaf = True

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self._issuer = issuer

    def render_GET(self, request: Any) -> bytes:
        return self._say(request, self._issuer.get(request.path.decode()))

    def render_POST(self, request: Any) -> bytes:
        form = dict(parse_qsl(request.content.read().decode()))
        return self._say(request, self._issuer.post(request.path.decode(), form))

    @staticmethod
    def _say(request: Any, answer: tuple[int, dict[str, Any]]) -> bytes:
        request.setResponseCode(answer[0])
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(answer[1]).encode()


def client_file(issuer: Issuer, **more: Any) -> str:
    """The text of a *_auth_config.json."""
    entry = {
        "client_id": CLIENT,
        "client_secret": "public enough",
        "audience": "https://panda.example",
        "oidc_config_url": issuer.discovery,
        "vo": "atlas",
    }
    return json.dumps({**entry, **more})


@define(eq=False)
class IssuerProcess:
    """An issuer in a process of its own, and the one here that signs the same tokens."""

    folder: Path
    lifetime: int = HOUR
    issuer: Issuer = field(factory=Issuer)
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Issuer:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        file = self.folder / "issuer.pem"
        file.write_bytes(private_pem(rsa_key()))
        line = [sys.executable, __file__, str(port), str(file), str(self.lifetime)]
        self._process = subprocess.Popen(line, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == b"ready"
        self.issuer.url, self.issuer.lifetime = f"http://127.0.0.1:{port}", self.lifetime
        return self.issuer

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def asked_of(issuer: Issuer) -> list[str]:
    """What an issuer in a process of its own was asked, in order."""
    with urllib.request.urlopen(f"{issuer.url}/asked", timeout=10) as answer:
        found: list[str] = json.loads(answer.read())["asked"]
    return found


class _Told(Issuer):
    """Tells what it was asked."""

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return (200, {"asked": self.asked}) if path == "/asked" else super().get(path)


def unsigned(token: str, header: Mapping[str, Any]) -> str:
    """A token with another header and its old signature."""
    _, body, signature = token.split(".")
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


def main(port: str, file: str, lifetime: str) -> None:
    from twisted.internet import reactor

    key = serialization.load_pem_private_key(Path(file).read_bytes(), None)
    issuer = _Told(keys={"first": key}, lifetime=int(lifetime))
    issuer.listen(int(port))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
