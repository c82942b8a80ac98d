"""Hostile bytes where proxies, VOMS attributes and lists of signers are read."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from time import process_time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fuzzing import fuzzed
from hypothesis import strategies as some
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock as Time
from voms_authority import (
    INTEGER,
    NULL,
    OCTETS,
    OID,
    SEQUENCE,
    SET,
    TIME,
    VomsServer,
    der,
    in_sequence,
    make_proxy,
    oid,
)

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.identity import authority, names, proxies
from pandatx.identity import der as reading
from pandatx.identity.callers import Callers
from pandatx.identity.trust import Trust
from pandatx.identity.voms_judge import Judge
from pandatx.identity.voms_reader import VomsReader
from pandatx.identity.vomsdir import VO, VomsDir, _chains, dn_key

NOW = datetime.now(UTC).replace(microsecond=0)
CA = authority.make_authority("/DC=local/CN=CA", NOW)
USER = authority.make_user(CA, "/DC=local/CN=user", NOW)
ATLAS = VomsServer.make("atlas", CA, NOW)
FQANS = ("/atlas/Role=production/Capability=NULL", "/atlas/Role=NULL/Capability=NULL")
GOOD = ATLAS.certificate(USER.cert, FQANS, NOW)
SIGNED = next(reading.elements(reading.only(GOOD, SEQUENCE))).whole
CHAIN = tuple(dn_key(dn) for dn in (ATLAS.host.dn, CA.dn))
TRUST = Trust((CA.cert,))
JUDGE = Judge(TRUST, VomsDir({"atlas": VO(chains=(CHAIN,))}))
LONGEST = 3.0
"""Seconds for one verdict, on a machine that has other things to do."""

# Elements of DER nested in each other: of the tags and contents that the readers look for, and of others.
OIDS = ["1.3.6.1.4.1.8005.100.100.4", "1.3.6.1.4.1.8005.100.100.10", "2.5.29.55", "1.3.6.1.5.5.7.21.1", "2.5.4.3"]
TAGS = [INTEGER, OCTETS, OID, NULL, TIME, 3, 0x0C, 0x13, 0x86, 1]
LEAVES = some.one_of(
    some.builds(der, some.sampled_from(TAGS), some.binary(max_size=40)),
    some.sampled_from([oid(each) for each in OIDS]),
    some.sampled_from([GOOD, SIGNED, USER.cert.issuer.public_bytes(), der(OCTETS, FQANS[0].encode())]),
)  # fmt: skip
TREES = some.recursive(
    LEAVES,
    lambda inner: some.builds(
        lambda tag, parts: der(tag, *parts),
        some.sampled_from([SEQUENCE, SET, 0xA0, 0xA1, 0xA4]),
        some.lists(inner, max_size=6),
    ),
    max_leaves=30,
)  # fmt: skip


@some.composite
def damaged(draw: Any, good: bytes) -> bytes:
    """Good bytes with some of them changed, left out, said twice, or put in."""
    data = bytearray(good)
    for _ in range(draw(some.integers(1, 4))):
        at = draw(some.integers(0, max(0, len(data) - 1)))
        size = draw(some.integers(1, 12))
        how = draw(some.sampled_from(["change", "leave out", "twice", "put in"]))
        if how == "change":
            data[at : at + 1] = draw(some.binary(min_size=1, max_size=1))
        elif how == "leave out":
            del data[at : at + size]
        elif how == "twice":
            data[at:at] = data[at : at + size]
        else:
            data[at:at] = draw(some.one_of(some.binary(max_size=12), LEAVES))
    return bytes(data)


def judged(extension: bytes) -> None:
    """Whatever it is, the verdict comes in time, and grants only what the server has signed."""
    begun = process_time()
    verdict = JUDGE.verdict(extension, USER.cert, NOW)
    assert process_time() - begun < LONGEST
    assert verdict.granted or verdict.faults or extension == in_sequence()
    for each in verdict.granted:
        assert SIGNED in extension
        assert each.fqans == FQANS


@fuzzed(some.one_of(some.binary(max_size=400), TREES, TREES.map(in_sequence)))
def test_bytes_in_the_place_of_voms_attributes_grant_nothing(extension: bytes) -> None:
    judged(extension)


@fuzzed(damaged(in_sequence(GOOD)))
def test_damaged_voms_attributes_grant_nothing(extension: bytes) -> None:
    judged(extension)


@fuzzed(damaged(SIGNED))
def test_damage_in_what_is_signed_is_seen(signed: bytes) -> None:
    _, algorithm, signature = (each.whole for each in reading.elements(reading.only(GOOD, SEQUENCE)))
    judged(in_sequence(der(SEQUENCE, signed, algorithm, signature)))


# Proxies.

INFOS = some.one_of(
    some.binary(max_size=40),
    TREES,
    damaged(proxies.der_proxy_info(proxies.INHERIT_ALL_POLICY, 3)),
    some.builds(
        lambda path, policy, more: der(SEQUENCE, path, der(SEQUENCE, policy, more)),
        some.sampled_from([b"", der(INTEGER, b"\x01")]),
        some.one_of(LEAVES, some.sampled_from([oid("1.3.6.1.5.5.7.21.1"), oid("1.3.6.1.5.5.7.21.2")])),
        some.one_of(some.just(b""), LEAVES),
    ),
)


@fuzzed(INFOS)
def test_a_proxy_has_all_rights_of_its_issuer_only_by_the_policy_that_says_so(info: bytes) -> None:
    limited, speaks = proxies.is_limited(USER.cert, info), proxies.speaks_for_its_issuer(info)
    if speaks and not limited:
        assert proxies.der_oid(proxies.INHERIT_ALL_POLICY) in info


class Transport:
    def __init__(self, chain: list[x509.Certificate]) -> None:
        self._chain = chain

    def getHandle(self) -> Transport:
        return self

    def get_verified_chain(self, as_cryptography: bool) -> list[x509.Certificate]:
        return self._chain


class Request:
    caller_name = ""
    client = IPv4Address("TCP", "192.0.2.1", 1)

    def __init__(self, chain: list[x509.Certificate]) -> None:
        self.transport = Transport(chain)

    def getHeader(self, name: bytes) -> None:
        return None


class Lists:
    production_dns = ("user",)
    pilot_owners = ()
    loose_dn_match = False
    vo_members_are_pilots = ("atlas",)


READER = VomsReader()
READER.renew(TRUST)
CALLERS = Callers(Lists(), Clock.manual(Time(), NOW), voms=READER)


@functools.cache
def links() -> tuple[bytes, ...]:
    """Certificates of every kind that chains are made of."""
    proxy = make_proxy(USER, NOW, attributes=[GOOD])
    made = [
        CA.cert,
        USER.cert,
        proxy.cert,
        make_proxy(proxy, NOW, policy=proxies.LIMITED_POLICY).cert,
        make_proxy(USER, NOW, policy=proxies.INDEPENDENT_POLICY).cert,
        make_proxy(USER, NOW, legacy=True).cert,
        make_proxy(USER, NOW, info=b"\x30").cert,
    ]
    return tuple(cert.public_bytes(Encoding.DER) for cert in made)


def loaded(data: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(data)
    except names.UNREADABLE:
        return None


@fuzzed(
    some.lists(some.sampled_from(links()).flatmap(lambda link: some.one_of(some.just(link), damaged(link))), max_size=5)
)
def test_whatever_openssl_were_to_let_through_a_chain_has_a_caller_or_none(chain: list[bytes]) -> None:  # fmt: skip
    certs = [cert for cert in map(loaded, chain) if cert is not None]
    caller = CALLERS.of_request(Request(certs))
    assert isinstance(caller, Caller)
    if caller.authenticated:
        assert any(proxies.proxy_info(cert) is None for cert in certs)
    else:
        assert not caller.production


# Lists of signers.


@fuzzed(
    some.one_of(
        some.text(max_size=200),
        some.lists(some.sampled_from([ATLAS.host.dn, CA.dn, "-- NEXT CHAIN --", "#", ""])).map("\n".join),
    )
)
def test_a_list_of_signers_has_chains_of_two_or_more_or_is_refused(text: str) -> None:  # fmt: skip
    try:
        chains = list(_chains(text))
    except ValueError:
        return
    assert all(len(chain) >= 2 for chain in chains)


def test_what_is_good_is_granted() -> None:
    """Else the others would show nothing."""
    assert JUDGE.verdict(in_sequence(GOOD), USER.cert, NOW).granted
    chain = [x509.load_der_x509_certificate(link) for link in (links()[2], links()[1], links()[0])]
    assert CALLERS.of_request(Request(chain)).production
