"""How the command line finds its server and speaks to it (rule R39)."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from attrs import frozen

from pandatx.errors import EXIT_USAGE, PandaError, StartFault

CLIENT_FILE = "client.json"
TRANSFORM = "/trf/user/runGen-00-00-02"
AUTHORITIES = Path("/etc/grid-security/certificates")
PATIENCE = 120.0
"""Seconds for one answer."""


class Unreachable(PandaError):
    """Nobody answers, or one side does not trust the other."""


class Refused(PandaError):
    """The server's own words on why not."""


@frozen(kw_only=True)
class Place:
    """Where the server is, whom to trust, and as whom to speak. ``authorities`` is a file, a folder, or None: the
    system's own."""

    url: str
    authorities: Path | None
    certificate: Path | None
    transformation: str
    home: Path | None = None


def find(home: Path | None, environ: Mapping[str, str], here: Path) -> Place:
    """The server's place: ``home``, else $PANDATX_HOME, else ``here`` if it holds client.json, else what the variables
    of panda-client say. Raises StartFault with exit 2."""
    if home is None and environ.get("PANDATX_HOME"):
        home = Path(environ["PANDATX_HOME"])
    if home is None and (here / CLIENT_FILE).is_file():
        home = here
    if home is not None:
        return _of_home(home.absolute())
    if environ.get("PANDA_URL_SSL"):
        return _of_environment(environ)
    raise StartFault(
        EXIT_USAGE,
        "which server? Give --home DIR, $PANDATX_HOME, a folder with client.json, or PANDA_URL_SSL and X509_USER_PROXY",
    )


def _of_home(home: Path) -> Place:
    path = home / CLIENT_FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        url = _base(str(said["url"]), str(path))
        return Place(
            url=url,
            authorities=home / said["ca"],
            certificate=home / said["certificate"],
            transformation=said.get("transformation") or url + TRANSFORM,
            home=home,
        )
    except OSError as fault:
        raise StartFault(EXIT_USAGE, f"{path} cannot be read: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError) as fault:
        raise StartFault(EXIT_USAGE, f"{path} is not what pandatx init writes: {fault}") from None


def _of_environment(environ: Mapping[str, str]) -> Place:
    url = _base(environ["PANDA_URL_SSL"], "PANDA_URL_SSL")
    named = environ.get("X509_CERT_DIR")
    authorities = Path(named) if named else AUTHORITIES
    proxy = environ.get("X509_USER_PROXY") or f"/tmp/x509up_u{os.getuid()}"
    return Place(
        url=url,
        authorities=authorities if named or authorities.is_dir() else None,
        certificate=Path(proxy) if Path(proxy).exists() or "X509_USER_PROXY" in environ else None,
        transformation=url + TRANSFORM,
    )


def _base(url: str, where: str) -> str:
    """The URL without its path, which the older clients' variables have."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "https" and parts.hostname and parts.port != 0:
            return f"https://{parts.netloc}"
    except ValueError:
        pass
    raise StartFault(EXIT_USAGE, f"{where}: {url!r} is no https:// address")


def client_of(home: Path | None) -> Client:
    """A client of the server that ``home``, this folder or this process's environment names. Raises StartFault."""
    return Client(find(home, os.environ, Path.cwd()))


@frozen
class Client:
    """Asks one server, one request at a time. Raises Unreachable and Refused, each a line for the user."""

    place: Place

    def post(self, operation: str, **fields: Any) -> Any:
        """``data`` of the answer of a REST operation."""
        body = json.dumps(fields).encode()
        return self._ask("POST", f"/api/v1/{operation}", body)

    def get(self, operation: str, **fields: Any) -> Any:
        """The same for an operation that changes nothing; fields that are None are left out."""
        query = urlencode({name: value for name, value in fields.items() if value is not None})
        return self._ask("GET", f"/api/v1/{operation}" + (f"?{query}" if query else ""), None)

    def _ask(self, verb: str, path: str, body: bytes | None) -> Any:
        parts = urlsplit(self.place.url)
        headers = {"Accept": "application/json", "User-Agent": "pandatx"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, context=self._context(), timeout=PATIENCE
        )
        try:
            with contextlib.closing(connection):
                connection.request(verb, path, body, headers)
                answer = connection.getresponse()
                return _data(answer.status, answer.read())
        except ssl.SSLCertVerificationError as fault:
            raise Unreachable(f"{self.place.url} is not who it should be: {fault.verify_message}") from None
        except TimeoutError:
            raise Unreachable(f"{self.place.url} did not answer within {PATIENCE:.0f} s") from None
        except (OSError, http.client.HTTPException) as fault:
            why = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
            raise Unreachable(f"{self.place.url} cannot be reached: {why}") from None

    def _context(self) -> ssl.SSLContext:
        place = self.place
        trusted = place.authorities
        folder = trusted is not None and trusted.is_dir()
        try:
            context = ssl.create_default_context(
                cafile=str(trusted) if trusted is not None and not folder else None,
                capath=str(trusted) if folder else None,
            )
        except OSError as fault:
            raise Unreachable(f"{trusted} cannot be used: {fault.strerror or fault}") from None
        if place.certificate is not None:
            try:
                context.load_cert_chain(place.certificate)
            except OSError as fault:
                raise Unreachable(f"{place.certificate} cannot be used: {fault.strerror or fault}") from None
        return context


def _data(status: int, body: bytes) -> Any:
    """What the envelope holds; Refused with its message when it says no."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        first = (body.decode("utf-8", "replace").strip().splitlines() or ["no text"])[0]
        raise Refused(f"the server says {status}: {first[:200]}")
    if status >= 400 or not answer.get("success"):
        raise Refused(str(answer.get("message") or f"the server says {status}"))
    return answer.get("data")
