"""From a verified chain, or a request, to a Caller."""

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from cryptography import x509
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock as ReactorClock
from twisted.web.http_headers import Headers

from pandatx.clock import Clock
from pandatx.errors import Banned, TokenRejected
from pandatx.identity import authority, proxies
from pandatx.identity.callers import DISOWNED, STALE, Callers
from pandatx.identity.holders import ENDED
from pandatx.identity.networks import Networks
from pandatx.identity.trust import Trust
from pandatx.identity.voms_reader import VomsReader

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CA = authority.make_authority("/DC=local/DC=pandatx/CN=CA", NOW)
USER = authority.make_user(CA, "/DC=local/DC=pandatx/CN=John Doe", NOW)


@attrs.frozen
class Lists:
    production_dns: tuple[str, ...] = ("John Doe",)
    pilot_owners: tuple[str, ...] = ()
    loose_dn_match: bool = False
    vo_members_are_pilots: tuple[str, ...] = ()


class Transport:
    def __init__(self, chain):
        self.chain, self.reads = chain, 0

    def getHandle(self):
        return self

    def get_verified_chain(self, as_cryptography):
        self.reads += 1
        return self.chain


class Request:
    def __init__(self, transport, peer=None, **headers):
        self.transport = transport
        self.client = peer or IPv4Address("TCP", "192.0.2.1", 1)
        self.requestHeaders = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})

    def getHeader(self, name):
        found = self.requestHeaders.getRawHeaders(name)
        return found[0] if found else None


@pytest.fixture
def time():
    return ReactorClock()


@pytest.fixture
def callers(time):
    return Callers(Lists(), Clock.manual(time, NOW), Networks(["10.0.0.0/8"]))


def chain(credential):
    return [credential.cert, *credential.chain]


def caller_of(callers, certs, address="192.0.2.1"):
    return callers.of_request(Request(Transport(certs), IPv4Address("TCP", address, 1)))


def test_a_user_and_each_proxy_of_theirs_are_the_same_caller(callers):
    first = authority.make_proxy(USER, NOW)
    second = authority.make_proxy(first, NOW)
    for credential in (USER, first, second):
        caller = caller_of(callers, chain(credential))
        assert caller.dn == "/DC=local/DC=pandatx/CN=John Doe"
        assert caller.name == "John Doe"
        assert caller.how == "x509"
        assert caller.secure
        assert caller.production
        assert caller.address == "192.0.2.1"


def test_a_limited_proxy_is_seen_anywhere_in_the_chain(callers):
    limited = authority.make_proxy(USER, NOW, limited=True)
    assert caller_of(callers, chain(limited)).limited
    assert caller_of(callers, chain(authority.make_proxy(limited, NOW))).limited
    assert not caller_of(callers, chain(limited)).secure


def test_a_proxy_is_limited_by_its_name_too():
    cert = authority.make_user(CA, "/DC=local/CN=John Doe/CN=limited proxy", NOW).cert
    assert proxies.is_limited(cert, proxies.der_proxy_info(proxies.INHERIT_ALL_POLICY))


@pytest.mark.parametrize("info", [b"", b"\x30", b"\x30\x05\x02\x01", b"\x04\x00"])
def test_a_policy_that_cannot_be_read_is_taken_for_limited(info):
    assert proxies.is_limited(USER.cert, info)


def test_the_policy_is_found_behind_a_path_length():
    info = proxies.der_proxy_info(proxies.LIMITED_POLICY, path_length=3)
    assert proxies.policy_language(info) == proxies.der_oid(proxies.LIMITED_POLICY)


def test_nobody_is_behind_an_empty_chain_or_one_of_proxies_only(callers):
    proxy = authority.make_proxy(USER, NOW)
    for certs in ([], [proxy.cert]):
        caller = caller_of(callers, certs)
        assert not caller.authenticated
        assert caller.address == "192.0.2.1"


def test_the_chain_is_read_once_for_a_connection(callers):
    transport = Transport(chain(USER))
    assert [callers.of_request(Request(transport)).name for _ in range(3)] == ["John Doe"] * 3
    assert transport.reads == 1


def test_only_so_many_chains_are_remembered_for_connections_to_come(callers, monkeypatch):
    monkeypatch.setattr("pandatx.identity.callers.REMEMBERED", 2)
    for name in ("A", "B", "C"):
        assert caller_of(callers, chain(authority.make_user(CA, f"/DC=local/CN={name}", NOW))).name == name
    assert len(callers._chains) == 2


def test_a_connection_that_outlives_its_proxy_is_nobodys(callers, time):
    transport = Transport(chain(authority.make_proxy(USER, NOW, hours=1)))
    assert callers.of_request(Request(transport)).authenticated
    time.advance(timedelta(hours=1).total_seconds())
    caller = callers.of_request(Request(transport))
    assert (caller.authenticated, caller.why_not_secure) == (False, ENDED)


def trusting(time, *crls, authorities=(CA.cert,)):
    reader = VomsReader()
    reader.renew(Trust(authorities, tuple(map(x509.load_pem_x509_crl, crls))))
    return Callers(Lists(), Clock.manual(time, NOW), voms=reader), reader


def test_a_caller_who_may_be_revoked_may_report_but_not_call_securely(time):
    callers, _ = trusting(time, authority.make_crl(CA, [], NOW, days=1))
    request = Request(Transport(chain(authority.make_proxy(USER, NOW, hours=48))))
    time.advance(24.9 * 3600)
    assert callers.of_request(request).secure, "a list that ran out holds for an hour"
    time.advance(0.2 * 3600)
    caller = callers.of_request(request)
    assert (caller.authenticated, caller.secure, caller.why_not_secure) == (True, False, STALE)


def test_a_list_that_its_ca_has_not_signed_says_nothing(time):
    other = authority.make_authority(CA.dn, NOW)
    callers, _ = trusting(time, authority.make_crl(other, [USER.cert], NOW, days=1))
    assert caller_of(callers, chain(USER)).secure


def test_who_is_revoked_is_nobody_on_connections_that_are_open_too(time):
    callers, reader = trusting(time)
    request = Request(Transport(chain(authority.make_proxy(USER, NOW))))
    assert callers.of_request(request).secure
    revoking = x509.load_pem_x509_crl(authority.make_crl(CA, [USER.cert], NOW))
    reader.renew(Trust((CA.cert,), (revoking,)))
    caller = callers.of_request(request)
    assert not caller.authenticated
    assert caller.why_not_secure == f"{USER.dn} is revoked"


def test_who_has_a_ca_that_is_no_longer_trusted_is_nobody_on_connections_that_are_open_too(time):
    other = authority.make_authority("/DC=local/DC=other/CN=CA", NOW)
    callers, reader = trusting(time, authorities=(CA.cert, other.cert))
    request = Request(Transport(chain(authority.make_proxy(USER, NOW))))
    assert callers.of_request(request).secure
    reader.renew(Trust((other.cert,)))
    caller = callers.of_request(request)
    assert (caller.authenticated, caller.why_not_secure) == (False, DISOWNED)
    reader.renew(Trust((CA.cert,)))
    assert callers.of_request(request).secure, "a file was away while it was exchanged"


def test_the_newest_list_of_a_ca_counts(time):
    older = authority.make_crl(CA, [USER.cert], NOW - timedelta(days=2))
    callers, _ = trusting(time, authority.make_crl(CA, [], NOW), older)
    assert caller_of(callers, chain(USER)).secure


@attrs.frozen
class Bans:
    banned: frozenset[str] = frozenset(("John Doe",))
    banned_subjects: frozenset[str] = frozenset()
    read_at: datetime | None = NOW


def banning(time, bans):
    return Callers(Lists(), Clock.manual(time, NOW), bans=lambda: bans)


def test_a_banned_user_is_refused_on_connections_that_are_open_too(time):
    request = Request(Transport(chain(USER)))
    assert banning(time, Bans(frozenset())).of_request(request).secure
    with pytest.raises(Banned, match="John Doe is banned"):
        banning(time, Bans()).of_request(request)
    assert request.caller_name == "John Doe"


def test_who_is_banned_stays_so_under_another_name(time):
    bans = Bans(frozenset(("Jack Doe",)), frozenset((USER.dn, "https://iam.example/ f00")))
    with pytest.raises(Banned, match="John Doe is banned"):
        banning(time, bans).of_request(Request(Transport(chain(USER))))


def test_bans_that_cannot_be_read_hold_for_an_hour_then_there_are_reports_but_no_secure_calls(time):
    callers = banning(time, Bans(frozenset(("Somebody",))))
    request = Request(Transport(chain(USER)))
    time.advance(timedelta(minutes=59).total_seconds())
    assert callers.of_request(request).secure
    time.advance(timedelta(minutes=2).total_seconds())
    caller = callers.of_request(request)
    assert (caller.authenticated, caller.secure) == (True, False)


def test_the_access_log_learns_the_name(callers):
    request = Request(Transport(chain(USER)))
    callers.of_request(request)
    assert request.caller_name == "John Doe"


def test_plain_http_is_anonymous(callers):
    class Plain:
        def getHandle(self):
            return object()

    caller = callers.of_request(Request(Plain(), IPv6Address("TCP", "::ffff:192.0.2.9", 1)))
    assert (caller.how, caller.address) == ("anonymous", "192.0.2.9")


@pytest.mark.parametrize("header", ["Bearer abc.def.ghi", "Bearer", "", "Basic dXNlcg=="])
def test_an_authorization_header_is_refused_whatever_certificate_is_there(callers, header):
    with pytest.raises(TokenRejected, match="Token authentication failed") as refused:
        callers.of_request(Request(Transport(chain(USER)), authorization=header))
    assert "abc" not in str(refused.value)


def test_a_forwarded_address_is_believed_from_a_trusted_proxy_only(callers):
    forwarded = "203.0.113.5, 198.51.100.7, 10.0.0.2"
    ours = Request(Transport([]), IPv4Address("TCP", "10.0.0.1", 1), x_forwarded_for=forwarded)
    assert callers.of_request(ours).address == "198.51.100.7"
    theirs = Request(Transport([]), IPv4Address("TCP", "192.0.2.1", 1), x_forwarded_for=forwarded)
    assert callers.of_request(theirs).address == "192.0.2.1"
    nonsense = Request(Transport([]), IPv4Address("TCP", "10.0.0.1", 1), x_forwarded_for="<script>")
    assert callers.of_request(nonsense).address == "10.0.0.1"
