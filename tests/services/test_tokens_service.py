"""Clients and issuers of tokens are read again without a restart; where no tokens are taken nothing is read."""

import attrs
import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from issuer import Issuer, client_file
from OpenSSL import crypto
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.errors import TokenRejected
from pandatx.identity.authority import make_authority, make_host
from pandatx.services.tokens import Tokens


@pytest_twisted.async_yield_fixture
async def issuer():
    served = Issuer()
    served.listen()
    yield served
    await served.leave()


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "auth").mkdir()
    identity = Config.for_tests(tmp_path).identity
    return attrs.evolve(identity, token_auth_type="oidc", auth_dir=tmp_path / "auth")


@pytest.fixture
def tokens(settings, tmp_path):
    return Tokens(settings, Clock(reactor), tmp_path)


def put(settings, name, text):
    (settings.auth_dir / f"{name}_auth_config.json").write_text(text)


async def judged(tokens, bearer, origin="atlas"):
    found = tokens.judge.judge(bearer, origin)
    return await found if hasattr(found, "__await__") else found


async def test_a_file_that_comes_or_changes_counts_from_the_next_reading(tokens, settings, issuer):
    await tokens.refresh()
    with pytest.raises(TokenRejected, match="cannot extract client_id"):
        await judged(tokens, issuer.token())
    put(settings, "atlas", client_file(issuer))
    await tokens.refresh()
    assert (await judged(tokens, issuer.token())).issuer == issuer.name
    put(settings, "atlas", client_file(issuer, client_id="another"))
    await tokens.refresh()
    with pytest.raises(TokenRejected, match="cannot extract client_id"):
        await judged(tokens, issuer.token())


async def test_a_reading_that_finds_nothing_new_keeps_what_was_decided(tokens, settings, issuer):
    put(settings, "atlas", client_file(issuer))
    await tokens.refresh()
    bearer = issuer.token()
    first = await judged(tokens, bearer)
    await tokens.refresh()
    assert tokens.judge.judge(bearer, "atlas") is first


async def test_keys_are_there_before_the_first_token_comes(tokens, settings, issuer):
    put(settings, "atlas", client_file(issuer))
    await tokens.refresh()
    assert issuer.asked == ["/.well-known/openid-configuration", "/jwks"]
    await judged(tokens, issuer.token())
    assert len(issuer.asked) == 2
    assert tokens.state == (True, "clients: 1, issuers: 1")


async def test_an_issuer_that_is_away_keeps_nobody_from_coming_in_through_another(tokens, settings, issuer):
    put(settings, "atlas", client_file(issuer))
    gone = Issuer("http://127.0.0.1:9")
    put(settings, "cms", client_file(gone, client_id="cms", vo="cms"))
    await tokens.refresh()
    assert await judged(tokens, issuer.token())
    well, text = tokens.state
    assert not well
    assert text.startswith("clients: 2, issuers: 2; 127.0.0.1: ")
    with pytest.raises(TokenRejected, match="cannot be had"):
        await judged(tokens, gone.token(aud="cms", groups=["cms"]), "cms")


async def test_an_issuer_that_does_not_answer_holds_those_of_its_own_tokens_only(tokens, settings, issuer):
    connections = []

    class Silent(Protocol):
        def connectionMade(self):
            connections.append(self.transport)

    port = reactor.listenTCP(0, Factory.forProtocol(Silent), interface="127.0.0.1")
    slow = Issuer(f"http://127.0.0.1:{port.getHost().port}")
    put(settings, "atlas", client_file(issuer))
    put(settings, "cms", client_file(slow, client_id="cms", vo="cms"))
    await tokens.read_files()
    waiting = [
        Deferred.fromCoroutine(judged(tokens, slow.token(aud="cms", groups=["cms"], jti=n), "cms")) for n in range(3)
    ]
    assert await judged(tokens, issuer.token())
    while not connections:
        await deferLater(reactor, 0.001)
    assert not any(each.called for each in waiting)
    assert len(connections) == 1, "they wait for one question"
    await port.stopListening()
    connections[0].abortConnection()
    for each in waiting:
        with pytest.raises(TokenRejected, match="cannot be had"):
            await each


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_issuer_over_tls_is_believed_by_the_authorities_of_ca_dir(settings, tmp_path, trusted):
    now = Clock(reactor).now()
    ours, others = (make_authority(f"/O=test/CN=CA{n}", now) for n in range(2))
    host = make_host(ours, ["localhost"], now)
    key = crypto.PKey.from_cryptography_key(load_pem_private_key(host.key_pem(), None))
    issuer = Issuer()
    issuer.listen(tls=ssl.CertificateOptions(privateKey=key, certificate=crypto.X509.from_cryptography(host.cert)))
    put(settings, "atlas", client_file(issuer))
    (tmp_path / "ca.pem").write_bytes((ours if trusted else others).cert_pem())
    tokens = Tokens(settings, Clock(reactor), tmp_path / "ca.pem")
    await tokens.refresh()
    if trusted:
        assert (await judged(tokens, issuer.token())).issuer == issuer.name
    else:
        with pytest.raises(TokenRejected, match="certificate verify failed"):
            await judged(tokens, issuer.token())
    await issuer.leave()


async def test_without_oidc_there_is_no_judge_and_nothing_is_read(settings, tmp_path):
    tokens = Tokens(
        attrs.evolve(settings, token_auth_type="x509", auth_dir=tmp_path / "none"), Clock(reactor), tmp_path
    )
    await tokens.refresh()
    assert tokens.judge is None
    assert tokens.state == (True, "none are taken")
