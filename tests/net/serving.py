"""A site on loopback with a private CA, and small clients for it: what the tests of net/ share."""

import http.client
import ssl
from datetime import UTC, datetime
from pathlib import Path

import attrs
from twisted.internet import reactor, threads
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pandatx.clock import Clock
from pandatx.identity import authority
from pandatx.identity.callers import Callers
from pandatx.identity.voms_reader import VomsReader
from pandatx.net.listeners import Listeners
from pandatx.net.ports import Ports
from pandatx.net.tls import ServerTLS

NOW = datetime.now(UTC)
CA = authority.make_authority("/DC=local/DC=pandatx/CN=CA", NOW)
HOST = authority.make_host(CA, ["localhost", "127.0.0.1"], NOW)
USER = authority.make_user(CA, "/DC=local/DC=pandatx/CN=user", NOW)
OTHER_CA = authority.make_authority("/DC=local/DC=other/CN=CA", NOW)


@attrs.frozen(kw_only=True)
class Settings:
    http_port: int = 0
    https_port: int = 0
    cache_port: int | None = None
    host_cert: Path
    host_key: Path
    ca_dir: Path
    max_connections: int = 100
    connections_per_address: int = 50
    header_timeout: float = 30.0
    body_timeout: float = 60.0
    body_rate: int = 16 * 1024
    answer_timeout: float = 300.0
    keep_alive: float = 600.0
    max_headers: int = 500
    max_header_bytes: int = 16 * 1024
    trusted_proxies: tuple[str, ...] = ()


@attrs.frozen
class Lists:
    production_dns: tuple[str, ...] = ()
    pilot_owners: tuple[str, ...] = ()
    loose_dn_match: bool = False
    vo_members_are_pilots: tuple[str, ...] = ()


class Page(Resource):
    """/who names the caller, /why what is wrong with them, /hold waits until the test lets go, /boom breaks, all else
    counts the body."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.voms = VomsReader()
        self.callers = Callers(Lists(), Clock(reactor), voms=self.voms)
        self.held = []
        self.asked = Deferred()

    def render(self, request):
        if request.path == b"/who":
            caller = self.callers.of_request(request)
            request.caller_name = caller.name
            return f"{caller.dn} {caller.limited}".encode()
        if request.path == b"/why":
            return self.callers.of_request(request).why_not_secure.encode()
        if request.path == b"/boom":
            raise RuntimeError("secret of the house")
        if request.path == b"/hold":
            self.held.append(request)
            self.asked.callback(request)
            return NOT_DONE_YET
        return b"%d %s" % (len(request.content.read()), type(request.content).__name__.encode())


def write_settings(folder: Path, **changes) -> Settings:
    (folder / "hostcert.pem").write_bytes(HOST.cert_pem())
    (folder / "hostkey.pem").write_bytes(HOST.key_pem())
    cas = folder / "certificates"
    cas.mkdir(exist_ok=True)
    (cas / "ca.pem").write_bytes(CA.cert_pem())
    paths = {"host_cert": folder / "hostcert.pem", "host_key": folder / "hostkey.pem", "ca_dir": cas}
    return Settings(**(paths | changes))


def listeners(folder: Path, page=None, share=True, **changes) -> Listeners:
    settings = write_settings(folder, **{k: v for k, v in changes.items() if k in attrs.fields_dict(Settings)})
    rest = {k: v for k, v in changes.items() if k not in attrs.fields_dict(Settings)}
    page = page or Page()
    return Listeners(
        page,
        settings,
        ServerTLS(settings, getattr(page, "voms", VomsReader())),
        Ports(folder / "state", share),
        reactor,
        **({"interface": "127.0.0.1"} | rest),
    )


def client_context(folder: Path, credential=None, version=None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=CA.cert_pem().decode())
    if credential is not None:
        file = folder / "client.pem"
        file.write_bytes(credential.pem())
        context.load_cert_chain(file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def get(port, context, path="/who"):
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


async def ask(tmp_path, credential=None, version=None, prepare=None, path="/who", **changes):
    service = listeners(tmp_path, **changes)
    if prepare is not None:
        prepare(tmp_path / "certificates")
    service.startService()
    try:
        return await in_thread(get, service.numbers["https"], client_context(tmp_path, credential, version), path)
    finally:
        await service.stopService()


def in_thread(work, *args):
    return threads.deferToThread(work, *args)


async def until(condition):
    """Wait for what other threads and the kernel do."""
    while not condition():
        await deferLater(reactor, 0.005, lambda: None)
