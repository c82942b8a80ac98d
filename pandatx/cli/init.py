"""``pandatx init``: a folder with all that a first server needs."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import socket
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import click
from attrs import define, field
from OpenSSL import crypto

from pandatx.cli import documents
from pandatx.cli.documents import Places
from pandatx.errors import EXIT_CERTIFICATE, EXIT_USAGE, StartFault
from pandatx.identity import authority
from pandatx.identity.authority import Credential

PROXY_HOURS = 96
TRANSFORM = "runGen-00-00-02"
_HTTP, _HTTPS, _METRICS = 25080, 25443, 25090
_HOST_NAME = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_FOLDERS = (
    "log",
    "cache",
    "cache/schedconfig",
    "auth",
    "certificates",
    "cric",
    "storage",
    "trf",
    "trf/user",
    "vomsdir",
)

_USERS = (
    ("production.pem", documents.PRODUCTION_DN, "A MASTER KEY: who has this file holds the production role"),
    ("user.pem", documents.USER_DN, "certificate and key of a user without any role"),
    ("pilot.pem", documents.PILOT_DN, "the same of a pilot owner"),
)

_port = click.IntRange(1, 65535)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--http-port", type=_port, default=_HTTP, show_default=True)
@click.option("--https-port", type=_port, default=_HTTPS, show_default=True)
@click.option("--cache-port", type=_port, help="A third port that serves /cache/, for a squid in front.")
def init(directory: Path, http_port: int, https_port: int, cache_port: int | None) -> None:
    """Write into DIRECTORY a configuration, a private CA with certificates, a queue and a transform.

    In a folder that init made before, only what is missing is written, and the pilot's proxy is made anew.
    """
    ports = [port for port in (http_port, https_port, cache_port) if port is not None]
    if len(set(ports)) != len(ports):
        raise click.UsageError("each port can be used once only")
    home = directory.absolute()
    user, group = _runs_children_as()
    places = Places(
        home=home,
        http_port=http_port,
        https_port=https_port,
        cache_port=cache_port,
        metrics_port=_metrics_port(ports),
        user=user,
        group=group,
    )
    for name, meaning in write(places, datetime.now(UTC)):
        click.echo(f"{name:20} {meaning}")
    click.echo(f"\nStart the server with:  twistd -n panda --config {home}/panda_server.cfg")
    click.echo(f"Ask it something with:  curl --cacert {home}/ca.pem --cert {home}/production.pem", nl=False)
    click.echo(f" https://localhost:{https_port}/api/v1/system/is_alive")


def _metrics_port(ports: list[int]) -> int:
    """The usual port for the usual ports; beside others, a free one near them."""
    wanted = _METRICS if ports[0] == _HTTP else ports[0] + 10
    while wanted in ports or wanted > 65535:
        wanted = wanted + 1 if wanted < 65535 else 1024
    return wanted


def _runs_children_as() -> tuple[str, str]:
    """The server's user, but never root for what runs plugins."""
    account = pwd.getpwuid(os.getuid()) if os.getuid() else _nobody()
    return account.pw_name, grp.getgrgid(account.pw_gid).gr_name


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return pwd.getpwuid(os.getuid())


def write(places: Places, now: datetime) -> list[tuple[str, str]]:
    """Write the folder; the names of its files with what each is. StartFault (exit 2) for a folder of somebody else."""
    folder = _Folder(places.home)
    folder.open()
    folder.text("client.json", documents.client(places), "tells the pandatx command where the server is", secret=True)
    folder.text("panda_server.cfg", documents.server_cfg(places), "the server's configuration")
    folder.text("panda_common.cfg", documents.common_cfg(places), "the configuration of its logs")
    folder.text(
        "queues.json", documents.queues(), f"the queue {documents.QUEUE}, in the form of CRIC's schedconfig dump"
    )
    folder.text("ddmendpoints.json", documents.endpoints(places), "its storage, the folder storage/")
    transform = resources.files("pandatx.cli").joinpath("files", TRANSFORM).read_text()
    folder.text(f"trf/user/{TRANSFORM}", transform, "the transform that runs shell commands", mode=0o755)
    _write_certificates(folder, now)
    folder.say("state/", "what the server keeps: locks, reports, the embedded database; for nobody else's eyes")
    folder.say("log/, cache/", "logs; sandboxes and queue descriptions, served as /cache/")
    folder.say("auth/, cric/, vomsdir/", "empty: OIDC clients, site inputs, VOs")
    return folder.said


def _write_certificates(folder: _Folder, now: datetime) -> None:
    issue = _Issuer(folder, _authority(folder, now))
    issue.host(now)
    for name, dn, meaning in _USERS:
        issue.user(name, dn, meaning, now)
    pilot = authority.load((folder.path / "pilot.pem").read_bytes())
    folder.remove("pilot-proxy.pem")
    proxy = authority.make_proxy(pilot, now, hours=PROXY_HOURS)
    folder.text(
        "pilot-proxy.pem", proxy.pem().decode(), f"a proxy of it for {PROXY_HOURS} hours, for pilots", secret=True
    )


def _authority(folder: _Folder, now: datetime) -> Credential | None:
    """The folder's CA, a new one for a new folder; None when its key was taken away, as a careful operator would."""
    key, cert = folder.path / "ca-key.pem", folder.path / "ca.pem"
    meaning = "certificate and key of the CA: makes anybody, so A MASTER KEY too; best kept elsewhere"
    if cert.exists() and not key.exists():
        folder.say("ca.pem", "a private CA (kept; its key is not here)")
        return None
    ca = authority.load(key.read_bytes()) if key.exists() else authority.make_authority(documents.CA_DN, now)
    folder.text("ca-key.pem", ca.pem().decode(), meaning, secret=True)
    folder.text("ca.pem", ca.cert_pem().decode(), "a private CA: whom clients and this server trust")
    link = f"certificates/{_hash(ca)}.0"
    folder.text(link, ca.cert_pem().decode(), "the same, as X509_CERT_DIR has it: ca_dir of this server")
    return ca


@define
class _Issuer:
    """Makes the certificates that are missing."""

    _folder: _Folder
    _ca: Credential | None

    def host(self, now: datetime) -> None:
        if not all((self._folder.path / name).exists() for name in ("hostcert.pem", "hostkey.pem")):
            self._folder.remove("hostcert.pem", "hostkey.pem")
            made = authority.make_host(self._signer("hostcert.pem"), _host_names(), now)
            cert, key = made.cert_pem().decode(), made.key_pem().decode()
        else:
            cert = key = ""
        self._folder.text("hostcert.pem", cert, "the server's certificate")
        self._folder.text("hostkey.pem", key, "its key", secret=True)

    def user(self, name: str, dn: str, meaning: str, now: datetime) -> None:
        content = ""
        if not (self._folder.path / name).exists():
            content = authority.make_user(self._signer(name), dn, now).pem().decode()
        self._folder.text(name, content, meaning, secret=True)

    def _signer(self, name: str) -> Credential:
        if self._ca is None:
            raise StartFault(EXIT_CERTIFICATE, f"{name} is missing and cannot be made: ca-key.pem is not here")
        return self._ca


def _hash(ca: Credential) -> str:
    return f"{crypto.X509.from_cryptography(ca.cert).subject_name_hash():08x}"


def _host_names() -> list[str]:
    own = [name for name in (socket.gethostname(), socket.getfqdn()) if _HOST_NAME.fullmatch(name)]
    return ["localhost", *own, "127.0.0.1", "::1"]


@define
class _Folder:
    """The folder being written; what is there stays."""

    path: Path
    said: list[tuple[str, str]] = field(factory=list)

    def open(self) -> None:
        try:
            if self.path.is_dir() and any(self.path.iterdir()) and not self._is_ours():
                raise StartFault(EXIT_USAGE, f"{self.path} is not empty and was not made by pandatx init")
            for name in ("", *_FOLDERS):
                (self.path / name).mkdir(mode=0o755, parents=True, exist_ok=True)
            (self.path / "state").mkdir(mode=0o700, exist_ok=True)
        except OSError as fault:
            raise StartFault(EXIT_USAGE, f"{self.path} cannot be written: {fault.strerror}") from None

    def _is_ours(self) -> bool:
        try:
            found = json.loads((self.path / "client.json").read_text())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and found.get("made_by") == "pandatx init"

    def say(self, name: str, meaning: str) -> None:
        self.said.append((name, meaning))

    def text(self, name: str, content: str, meaning: str, *, secret: bool = False, mode: int = 0o644) -> None:
        """Write a file that is not there yet; a secret one is never readable by others, not even for a moment."""
        path = self.path / name
        if path.exists():
            self.say(name, f"{meaning} (kept)")
            return
        write_file(path, content.encode(), 0o600 if secret else mode)
        self.say(name, meaning)

    def remove(self, *names: str) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all, with its mode from the first moment."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
    part.replace(path)
