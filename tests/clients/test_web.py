"""Outgoing HTTPS: whom it trusts and as whom it comes; what is posted is not redirected."""

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import crypto
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.web.resource import Resource
from twisted.web.server import Site

from pandatx.clients.web import Away, Web
from pandatx.clock import Clock
from pandatx.identity.authority import make_authority, make_host, make_proxy, make_user

NOW = Clock(reactor).now()
CA = make_authority("/O=test/CN=CA", NOW)
HOST = make_host(CA, ["localhost", "127.0.0.1"], NOW)
USER = make_user(CA, "/O=test/CN=Robot", NOW)


class Who(Resource):
    """Says who has come."""

    isLeaf = True

    def render_GET(self, request) -> bytes:
        if request.path == b"/moved":
            request.redirect(b"/there")
            return b""
        own = request.transport.getHandle().get_peer_certificate()
        chain = request.transport.getHandle().get_peer_cert_chain() or []  # without its own, on a server's side
        return "|".join(str(one.get_serial_number()) for one in (own, *chain) if one is not None).encode()

    def render_POST(self, request) -> bytes:
        request.redirect(b"/there")
        return b""


@pytest_twisted.async_yield_fixture
async def address():
    key = crypto.PKey.from_cryptography_key(load_pem_private_key(HOST.key_pem(), None))
    options = ssl.CertificateOptions(privateKey=key, certificate=crypto.X509.from_cryptography(HOST.cert))
    context = options.getContext()
    context.set_verify(ssl.SSL.VERIFY_PEER, lambda *found: True)
    port = reactor.listenSSL(0, Site(Who()), _Fixed(context), interface="127.0.0.1")
    yield f"https://localhost:{port.getHost().port}"
    await port.stopListening()


class _Fixed(ssl.ContextFactory):
    def __init__(self, context) -> None:
        self._context = context

    def getContext(self):
        return self._context


@pytest.fixture
def authorities(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(CA.cert_pem())
    return path


def hashed(folder) -> None:
    """The name that OpenSSL looks for."""
    number = crypto.X509.from_cryptography(CA.cert).subject_name_hash()
    (folder / f"{number:08x}.0").write_bytes(CA.cert_pem())


async def test_a_service_whose_authority_nobody_trusts_is_not_talked_to(address):
    with pytest.raises(Away, match="certificate verify failed"):
        await Web(reactor).get(address, "cric")


async def test_authorities_may_be_a_file(address, authorities):
    assert (await Web(reactor, authorities).get(address, "cric")).code == 200


async def test_authorities_may_be_a_directory_of_pem_files(address, authorities):
    assert (await Web(reactor, authorities.parent).get(address, "cric")).code == 200


async def test_authorities_may_be_a_directory_of_hashed_names(address, tmp_path):
    hashed(tmp_path)
    assert (await Web(reactor, tmp_path).get(address, "cric")).code == 200


async def test_a_certificate_for_another_name_is_refused(address, authorities):
    with pytest.raises(Away):
        await Web(reactor, authorities).get(address.replace("localhost", "127.0.0.2"), "cric")


async def test_it_comes_with_the_proxy_of_the_file_and_its_chain(address, authorities, tmp_path):
    proxy = make_proxy(USER, NOW)
    (tmp_path / "proxy").write_bytes(proxy.pem())
    answer = await Web(reactor, authorities, tmp_path / "proxy").get(address, "cric")
    serials = [str(one.serial_number) for one in (proxy.cert, USER.cert, CA.cert)]
    assert answer.content.decode() == "|".join(serials)


@pytest.mark.parametrize("content", [b"", b"text", USER.cert_pem()])
async def test_a_file_without_certificate_and_key_is_named(address, authorities, tmp_path, content):
    (tmp_path / "proxy").write_bytes(content)
    with pytest.raises(Away, match="localhost: "):
        await Web(reactor, authorities, tmp_path / "proxy").get(address, "cric")
    with pytest.raises(Away, match="No such file"):
        await Web(reactor, authorities, tmp_path / "absent").get(address, "cric")


async def test_what_is_asked_for_is_followed_and_what_is_posted_is_not(address, authorities):
    web = Web(reactor, authorities)
    assert (await web.get(f"{address}/moved", "cric")).code == 200
    assert (await web.post(address, "token", body={"secret": "x"})).code == 302


@pytest.mark.parametrize("url", ["ftp://localhost/", "https://[", "https://", "nonsense"])
async def test_what_is_no_address_is_away(url):
    with pytest.raises(Away):
        await Web(reactor).get(url, "cric")


class Stalling(Protocol):
    """Begins an answer, and leaves it at that."""

    lost: Deferred[None]

    def dataReceived(self, data) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"a" * 60)

    def connectionLost(self, reason=connectionDone) -> None:
        self.lost.callback(None)


@pytest.mark.parametrize(("largest", "why"), [(1000, "no whole answer within 0.3 s"), (10, "the answer is larger")])
async def test_an_answer_that_stalls_or_is_too_large_keeps_no_connection(largest, why):
    """Issuers and queues' descriptions are asked for again and again, and descriptors are few."""
    Stalling.lost = Deferred()
    port = reactor.listenTCP(0, Factory.forProtocol(Stalling), interface="127.0.0.1")
    web = Web(reactor, limit=0.3, largest=largest)
    with pytest.raises(Away, match=why):
        await web.get(f"http://127.0.0.1:{port.getHost().port}/", "test")
    await Stalling.lost.addTimeout(2, reactor)
    await port.stopListening()
