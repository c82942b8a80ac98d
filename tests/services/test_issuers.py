"""Keys of token issuers, asked over real HTTP: by discovery, at most so often, and over an outage."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from issuer import Issuer
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock as ReactorClock
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from pandatx.clients.web import Answer, Web
from pandatx.clock import Clock
from pandatx.identity.auth_config import asked_over_tls
from pandatx.identity.token_keys import IssuerAway
from pandatx.services.issuers import FRESH, HOLD, PATIENCE, RENEWED, UNKNOWN_KEY, Issuers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE_LOOK = ["/.well-known/openid-configuration", "/jwks"]


@pytest_twisted.async_yield_fixture
async def issuer():
    served = Issuer()
    served.listen()
    yield served
    await served.leave()


@pytest.fixture
def time():
    return ReactorClock()


@pytest.fixture
def keyring(time):
    """Asks over the real reactor, and has a time that the test moves."""
    return Issuers(Web(reactor, limit=5), Clock.manual(time, NOW), asked_over_tls(), ("RS256",))


async def until(condition):
    while not condition():
        await deferLater(reactor, 0.001)


def pass_time(time, span):
    time.advance(span.total_seconds())


async def test_keys_are_found_by_discovery_and_kept(keyring, issuer):
    found = await keyring.keys(issuer.discovery, "first")
    assert (found.name, set(found.keys)) == (issuer.name, {"first"})
    assert await keyring.keys(issuer.discovery, "first") is found
    assert issuer.asked == ONE_LOOK


async def test_many_who_want_to_know_at_once_are_one_question(keyring, issuer):
    asking = [Deferred.fromCoroutine(keyring.keys(issuer.discovery, "first")) for _ in range(5)]
    found = await gatherResults(asking)
    assert all(each is found[0] for each in found)
    assert issuer.asked == ONE_LOOK


async def test_a_new_key_is_known_at_once_but_unknown_ones_make_no_storm(keyring, issuer, time):
    await keyring.keys(issuer.discovery, "first")
    issuer.rotate("second")
    assert set((await keyring.keys(issuer.discovery, "second")).keys) == {"second"}
    assert keyring.generation == 1
    for _ in range(10):
        await keyring.keys(issuer.discovery, "nobody's")
    assert issuer.asked == ONE_LOOK * 2
    pass_time(time, UNKNOWN_KEY)
    await keyring.keys(issuer.discovery, "nobody's")
    assert issuer.asked == ONE_LOOK * 3
    assert keyring.generation == 1, "nothing has changed"


async def test_who_comes_with_a_new_key_while_it_is_fetched_waits_for_it(keyring, issuer):
    await keyring.keys(issuer.discovery, "first")
    issuer.rotate("second")
    asking = [Deferred.fromCoroutine(keyring.keys(issuer.discovery, "second")) for _ in range(3)]
    assert [set(each.keys) for each in await gatherResults(asking)] == [{"second"}] * 3
    assert issuer.asked == ONE_LOOK * 2


async def test_nobody_who_brings_tokens_makes_a_storm_upon_an_issuer_that_fails(keyring, issuer, time):
    await keyring.keys(issuer.discovery, "first")
    issuer.keys = {}
    pass_time(time, FRESH)
    for _ in range(5):
        assert set((await keyring.keys(issuer.discovery, "first")).keys) == {"first"}
        await until(lambda: not keyring._waiting)
    assert issuer.asked == ONE_LOOK * 2
    pass_time(time, PATIENCE)
    await keyring.keys(issuer.discovery, "first")
    await until(lambda: not keyring._waiting)
    assert issuer.asked == ONE_LOOK * 3


async def test_an_issuer_that_does_not_answer_keeps_no_other_from_being_renewed(keyring, issuer, time):
    silent = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    url = f"http://127.0.0.1:{silent.getHost().port}/"
    renewing = Deferred.fromCoroutine(keyring.renew([url, issuer.discovery]))
    await until(lambda: issuer.asked == ONE_LOOK)
    assert keyring.faults == (), "the other one is waited for still"
    renewing.addErrback(lambda _: None).cancel()
    await silent.stopListening()


async def test_keys_are_renewed_in_the_background_before_they_are_ten_minutes_old(keyring, issuer, time):
    await keyring.renew([issuer.discovery])
    await keyring.renew([issuer.discovery])
    assert issuer.asked == ONE_LOOK
    pass_time(time, RENEWED)
    await keyring.renew([issuer.discovery])
    assert issuer.asked == ONE_LOOK * 2
    assert timedelta(minutes=10) - RENEWED >= timedelta(minutes=1)


async def test_an_issuer_of_which_no_client_is_left_is_forgotten(keyring, issuer):
    await keyring.renew([issuer.discovery])
    await keyring.renew([])
    await keyring.keys(issuer.discovery, "first")
    assert issuer.asked == ONE_LOOK * 2


async def test_known_keys_outlive_an_outage_of_a_day(keyring, issuer, time):
    await keyring.renew([issuer.discovery])
    port = await issuer.leave()
    for span in (RENEWED, timedelta(hours=1), HOLD - RENEWED - timedelta(hours=1, seconds=1)):
        pass_time(time, span)
        await keyring.renew([issuer.discovery])
        assert set((await keyring.keys(issuer.discovery, "first")).keys) == {"first"}
        assert set((await keyring.keys(issuer.discovery, "unknown")).keys) == {"first"}
    pass_time(time, timedelta(seconds=PATIENCE.total_seconds()))
    with pytest.raises(IssuerAway, match=r"127\.0\.0\.1"):
        await keyring.keys(issuer.discovery, "first")
    issuer.listen(port)
    pass_time(time, PATIENCE)
    assert set((await keyring.keys(issuer.discovery, "first")).keys) == {"first"}


async def test_an_issuer_that_fails_is_left_alone_for_a_while(keyring, issuer, time):
    port = await issuer.leave()
    with pytest.raises(IssuerAway):
        await keyring.keys(issuer.discovery, "first")
    issuer.listen(port)
    with pytest.raises(IssuerAway):
        await keyring.keys(issuer.discovery, "first")
    assert issuer.asked == []
    pass_time(time, PATIENCE)
    await keyring.keys(issuer.discovery, "first")


async def test_known_keys_outlive_a_restart_while_the_issuer_is_away(issuer, time, tmp_path):
    def keyring():
        return Issuers(Web(reactor, limit=5), Clock.manual(time, NOW), asked_over_tls(), ("RS256",), tmp_path / "kept")

    first = keyring()
    await first.load()
    await first.renew([issuer.discovery])
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600
    await issuer.leave()
    second = keyring()
    await second.load()
    await second.renew([issuer.discovery])
    found = await second.keys(issuer.discovery, "first")
    assert (found.name, set(found.keys["first"])) == (issuer.name, {"RS256"})
    pass_time(time, HOLD)
    with pytest.raises(IssuerAway):
        await second.keys(issuer.discovery, "first")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"u": 5}', b'{"u": ["a", "b"]}', b'{"u": ["a", "{", 1e300]}', b'{"u": ["a", "{", 5]}'],
)
async def test_a_file_of_kept_keys_that_is_none_is_nothing(issuer, time, tmp_path, content):
    (tmp_path / "kept").write_bytes(content)
    keyring = Issuers(Web(reactor), Clock.manual(time, NOW), asked_over_tls(), ("RS256",), tmp_path / "kept")
    await keyring.load()
    assert (await keyring.keys(issuer.discovery, "first")).name == issuer.name


async def test_an_issuer_that_publishes_nothing_of_use_is_not_believed(keyring, issuer, time):
    await keyring.renew([issuer.discovery])
    issuer.keys = {}
    pass_time(time, RENEWED)
    await keyring.renew([issuer.discovery])
    assert set((await keyring.keys(issuer.discovery, "first")).keys) == {"first"}
    assert "no key that tokens may be signed by" in keyring.faults[0]


class Answers(Resource):
    """Answers what the test says, by path."""

    isLeaf = True

    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    def render_GET(self, request):
        code, text = self.answers[request.path.decode().strip("/")]
        request.setResponseCode(code)
        if code == 302:
            request.setHeader(b"location", text.encode())
            return b""
        return text.encode()


@pytest_twisted.async_yield_fixture
async def other():
    page = Answers()
    port = reactor.listenTCP(0, Site(page), interface="127.0.0.1")
    page.url = f"http://127.0.0.1:{port.getHost().port}"
    yield page
    await port.stopListening()


class OneAnswer:
    """A web in which everything answers the same."""

    def __init__(self, code, said):
        headers = {"location": said} if code == 302 else {}
        self.asked, self.answer = [], Answer(code=code, headers=headers, content=json.dumps(said).encode())

    async def get(self, url, target, headers=None, *, follow=True):
        self.asked.append(url)
        return self.answer


async def why_away(keyring, url):
    with pytest.raises(IssuerAway) as caught:
        await keyring.keys(url, "first")
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, "<html>"), "is not JSON"),
        ((200, "{}"), "no issuer or no jwks_uri"),
        ((500, "{}"), "answers 500"),
        ((404, "{}"), "answers 404"),
        ((200, '{"issuer": "x", "jwks_uri": "http://iam.example/jwks"}'), "comes over https:// only"),
        ((200, '{"issuer": "x", "jwks_uri": "file:///etc/passwd"}'), "comes over https:// only"),
        ((302, "http://iam.example/"), "comes over https:// only"),
        ((302, "/start"), "answers 302"),
    ],
)
async def test_what_is_no_discovery_document_or_leads_astray_is_told(keyring, other, answer, why):
    other.answers = {"start": answer}
    assert why in await why_away(keyring, f"{other.url}/start")


@pytest.mark.parametrize(
    "answer", [(302, "http://127.0.0.1:1/"), (200, {"issuer": "x", "jwks_uri": "http://localhost:1/"})]
)
async def test_what_was_asked_over_tls_leads_to_nothing_without_it(time, answer):
    code, said = answer
    web = OneAnswer(code, said)
    keyring = Issuers(web, Clock.manual(time, NOW), asked_over_tls(), ("RS256",))
    assert "comes over https:// only" in await why_away(keyring, "https://iam.example/")
    assert web.asked == ["https://iam.example/"]


async def test_a_redirect_to_a_trusted_address_is_followed(keyring, other, issuer):
    other.answers = {"start": (302, issuer.discovery)}
    assert (await keyring.keys(f"{other.url}/start", "first")).name == issuer.name


async def test_a_document_that_is_too_large_is_not_read(keyring, other, monkeypatch):
    monkeypatch.setattr(keyring._web, "largest", 100)
    other.answers = {"start": (200, "x" * 1000)}
    assert "larger than" in await why_away(keyring, f"{other.url}/start")


async def test_an_outage_is_one_warning(keyring, issuer, time, caplog):
    await issuer.leave()
    told = []
    keyring._complaints = type("Told", (), {"about": lambda self, faults: told.append(sorted(faults))})()
    for _ in range(2):
        await keyring.renew([issuer.discovery])
    assert told[0] == told[1] and len(told[0]) == 1
    issuer.listen(int(issuer.url.rpartition(":")[2]))
    await keyring.renew([issuer.discovery])
    assert told[2] == []
