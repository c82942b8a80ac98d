"""What may bring a token, and what a certificate beside it means (rule R24)."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.web.http_headers import Headers

from pandatx.domain.caller import Caller
from pandatx.errors import TokenRejected
from pandatx.identity.bearer import Bearers
from pandatx.identity.networks import Networks

HOLDER = Caller(dn="Jane Roe", name="Jane Roe", how="token", issuer="i", subject="s", attributes=(("A", "b"),))
NOBODY = Caller(address="192.0.2.1")


class Request:
    def __init__(self, *authorization, secure=True, peer="192.0.2.1", origin=b"atlas"):
        self.client = IPv4Address("TCP", peer, 1)
        self.secure = secure
        self.requestHeaders = Headers({b"authorization": list(authorization), b"origin": [origin]})

    def isSecure(self):
        return self.secure

    def getHeader(self, name):
        return (self.requestHeaders.getRawHeaders(name) or [None])[-1]


class Judge:
    """Finds every token good, now or ``later``."""

    def __init__(self, later=False):
        self.later, self.asked = later, []

    def judge(self, bearer, origin, dn):
        self.asked.append((bearer, origin, dn))

        async def wait():
            return HOLDER

        return wait() if self.later else HOLDER


@pytest.mark.parametrize("later", [False, True])
async def test_the_holder_comes_from_the_address_of_the_connection(later):
    found = Bearers(Judge(later)).caller_of(Request(b"Bearer abc"), NOBODY)
    caller = await found if later else found
    assert (caller.name, caller.address, caller.issuer) == ("Jane Roe", "192.0.2.1", "i")


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
