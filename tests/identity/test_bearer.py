"""What may bring a token, and what a certificate beside it means (rule R24)."""

from datetime import UTC, datetime

import pytest
from attrs import evolve, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock as ReactorClock
from twisted.web.http_headers import Headers

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import Banned, TokenRejected
from pandatx.identity.bearer import Bearers
from pandatx.identity.callers import BANS_HOLD, Callers
from pandatx.identity.networks import Networks

HOLDER = Caller(dn="Jane Roe", name="Jane Roe", how="token", issuer="i", subject="s", attributes=(("A", "b"),))
NOBODY = Caller(address="192.0.2.1")


class Plain:
    """A connection without a certificate."""

    def getHandle(self):
        return self


class Request:
    def __init__(self, *authorization, secure=True, peer="192.0.2.1", origin=b"atlas"):
        self.client = IPv4Address("TCP", peer, 1)
        self.secure, self.transport = secure, Plain()
        self.requestHeaders = Headers({b"authorization": list(authorization), b"origin": [origin]})

    def isSecure(self):
        return self.secure

    def getHeader(self, name):
        return (self.requestHeaders.getRawHeaders(name) or [None])[-1]


class Judge:
    """Finds every token good, now or ``later``."""

    def __init__(self, later=False):
        self.later, self.asked, self.holder = later, [], HOLDER

    def judge(self, bearer, origin, dn):
        self.asked.append((bearer, origin, dn))

        async def wait():
            return self.holder

        return wait() if self.later else self.holder


@pytest.mark.parametrize("later", [False, True])
async def test_the_holder_comes_from_the_address_of_the_connection(later):
    found = Bearers(Judge(later)).caller_of(Request(b"Bearer abc"), NOBODY)
    caller = await found if later else found
    assert (caller.name, caller.address, caller.issuer) == ("Jane Roe", "192.0.2.1", "i")


def test_the_caller_of_a_connection_is_made_once_for_each_token():
    one, other = evolve(HOLDER, name="One"), evolve(HOLDER, name="Other")
    judge, request = Judge(), Request(b"Bearer abc")
    bearers = Bearers(judge)
    first = bearers.caller_of(request, NOBODY)
    assert bearers.caller_of(request, NOBODY) is first
    for judge.holder in (one, other, one):
        assert bearers.caller_of(request, NOBODY).name == judge.holder.name
    certified = Caller(dn="/CN=Prod", name="Prod", how="x509")
    assert bearers.caller_of(request, certified).name == "Prod", "its certificate was judged anew"
    assert bearers.caller_of(request, NOBODY).name == "One"


def test_the_judge_is_told_the_origin_and_the_certificate():
    judge = Judge()
    Bearers(judge).caller_of(Request(b"bearer  abc ", origin=b"atlas:\xe9"), Caller(dn="/CN=x"))
    assert judge.asked == [("abc", "atlas:é", "/CN=x")]


def test_a_certificate_beside_a_token_wins():
    certified = Caller(dn="/CN=Prod", name="Prod", how="x509", production=True, fqans=("/atlas/Role=production",))
    caller = Bearers(Judge()).caller_of(Request(b"Bearer abc"), certified)
    assert (caller.dn, caller.how, caller.production, caller.fqans) == (
        "/CN=Prod",
        "x509",
        True,
        ("/atlas/Role=production",),
    )
    assert (caller.issuer, caller.attributes) == (None, (("A", "b"),))


@pytest.mark.parametrize(
    "headers", [(b"Bearer",), (b"",), (b"Basic dXNlcg==",), (b"Bearer a b",), (b"Bearer a", b"Bearer b"), (b"abc",)]
)
def test_what_is_not_one_bearer_token_is_refused(headers):
    with pytest.raises(TokenRejected, match="Bearer TOKEN"):
        Bearers(Judge()).caller_of(Request(*headers), NOBODY)


def test_plain_http_brings_tokens_only_from_trusted_proxies():
    bearers = Bearers(Judge(), Networks(["10.0.0.0/8"]))
    with pytest.raises(TokenRejected, match="over TLS only"):
        bearers.caller_of(Request(b"Bearer abc", secure=False), NOBODY)
    assert bearers.caller_of(Request(b"Bearer abc", secure=False, peer="10.1.2.3"), NOBODY).name == "Jane Roe"
    assert bearers.caller_of(Request(b"Bearer abc"), NOBODY).name == "Jane Roe"


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@frozen
class Lists:
    production_dns: tuple[str, ...] = ()
    pilot_owners: tuple[str, ...] = ()
    loose_dn_match: bool = False
    vo_members_are_pilots: tuple[str, ...] = ()


@frozen
class Bans:
    banned: frozenset[str] = frozenset()
    banned_subjects: frozenset[str] = frozenset()
    read_at: datetime | None = NOW


@pytest.mark.parametrize("later", [False, True])
async def test_a_holder_who_is_banned_is_refused_whatever_is_remembered_of_the_token(later):
    known = [Bans()]
    time = ReactorClock()
    judge = Bearers(Judge(later)).caller_of
    callers = Callers(Lists(), Clock.manual(time, NOW), bans=lambda: known[0], tokens=judge)

    async def asks():
        request = Request(b"Bearer abc")
        request.transport = Plain()
        found = callers.of_request(request)
        return request, await found if later else found

    request, caller = await asks()
    assert (caller.name, request.caller_name, caller.secure) == ("Jane Roe", "Jane Roe", True)
    known[0] = Bans(frozenset({"Jane Roe"}))
    with pytest.raises(Banned, match="Jane Roe is banned"):
        await asks()
    known[0] = Bans()
    time.advance(BANS_HOLD.total_seconds() + 1)
    _, caller = await asks()
    assert (caller.authenticated, caller.secure) == (True, False), "nobody knows who is banned: reports only"
