"""VOMS attributes: which are believed, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from voms_authority import (
    BOOLEAN,
    NULL,
    OCTETS,
    OID,
    SEQUENCE,
    TARGETS,
    der,
    extension,
    in_sequence,
    make_proxy,
    oid,
)
from voms_reading import (
    ATLAS,
    CA,
    CMS,
    FQANS,
    MEMBER,
    NOW,
    OF_RSA,
    OTHER_CA,
    RECORDED,
    RSA_KEY,
    SOMEBODY,
    USER,
    found,
    reader_of,
    why,
)

from pandatx.identity import authority, voms
from pandatx.identity.voms_reader import Attributes


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA512()], ids=["SHA-256", "SHA-512"])
@pytest.mark.parametrize("server", [ATLAS, OF_RSA], ids=["EC", "RSA"])
def test_attributes_that_a_server_of_the_vo_signed_are_believed(vomsdir, server, digest):
    read = found(reader_of(vomsdir), server.proxy(USER, FQANS, NOW, digest=digest))
    assert (read.fqans, read.why) == (FQANS, "")
    assert read.until == NOW + timedelta(hours=12, minutes=4)


def test_a_proxy_of_voms_proxy_fake_is_read_and_believed(tmp_path):
    """One that the VOMS clients made; it names its holder where the standard has the holder's CA."""
    proxy, user, ca = x509.load_pem_x509_certificates(RECORDED.read_bytes())
    (tmp_path / "atlas").mkdir()
    dns = "/DC=org/DC=example/CN=voms.example.org\n/DC=org/DC=example/CN=Example CA\n"
    (tmp_path / "atlas" / "voms.example.org.lsc").write_text(dns)
    now = proxy.not_valid_before_utc + timedelta(hours=1)
    read = reader_of(tmp_path, authorities=(ca,)).read([proxy, user, ca], user, now)
    assert isinstance(read, Attributes)
    assert (read.fqans, read.why) == ((*FQANS, "/atlas/de/Role=NULL/Capability=NULL"), "")


@pytest.mark.parametrize("name", [USER.cert.issuer, USER.cert.subject], ids=["its CA", "itself"])
def test_the_holder_is_named_by_its_ca_or_by_itself(vomsdir, name):
    assert found(reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW, holder_name=name)).fqans == FQANS


def test_a_proxy_without_attributes_has_none_and_nothing_is_said(vomsdir):
    assert found(reader_of(vomsdir), authority.make_proxy(USER, NOW)) == Attributes()


def test_attributes_in_the_certificate_itself_count_too(vomsdir):
    value = in_sequence(ATLAS.certificate(USER.cert, FQANS, NOW))
    assert voms.read(value)[0].fqans == FQANS


WRONG = {
    "forged": ({"forged": "/atlas/Role=production/Capability=LLUN"}, "their signature is wrong"),
    "signed by another key": ({"key": ec.generate_private_key(ec.SECP256R1())}, "their signature is wrong"),
    "signed by a key of another kind": ({"key": RSA_KEY}, "their signature is not of the kind of their signer's key"),
    "another algorithm inside": (
        {"named_algorithm": "1.2.840.10045.4.3.4"},
        "it names two signature algorithms",
    ),
    "SHA-1": ({"digest": hashes.SHA1()}, "they are signed with SHA-1, which is not taken any more"),
    "another holder's serial": ({"holder_serial": 1}, "they were issued to another certificate"),
    "another holder's issuer": ({"holder_name": OTHER_CA.cert.subject}, "they were issued to another certificate"),
    "expired": ({"start": NOW - timedelta(hours=13)}, "they have expired"),
    "not valid yet": ({"start": NOW + timedelta(minutes=6)}, "they are not valid yet"),
    "for certain services": (
        {"more": [extension(TARGETS, der(SEQUENCE), critical=True)]},
        "they are meant for certain services only",
    ),
    "for certain services, not critical": (
        {"more": [extension(TARGETS, der(SEQUENCE))]},
        "they are meant for certain services only",
    ),
    "a critical extension": (
        {"more": [extension("1.2.3.4", der(NULL), critical=True)]},
        "their critical extension 1.2.3.4 is not known here",
    ),
    "another issuer than its signer": (
        {"issuer": CMS.host.cert.subject},
        "the certificate of their signer is missing",
    ),
    "without its signer": ({"signers": []}, "the certificate of their signer is missing"),
    "a VO that is not known": (
        {"vo": "lhcb"},
        "the VO lhcb cannot speak for another",
    ),
    "version 1": ({"version": 0}, "its version is not 2"),
    "no VO": ({"uri": "voms.example.org"}, "it does not name its VO as VO://host:port"),
    "a VO that is a path": ({"uri": "../atlas://voms:1"}, "it does not name its VO as VO://host:port"),
}


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_attributes_is_said_and_they_grant_nothing(vomsdir, change, reason):
    said = why(reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW, **change))
    assert said == f"the VOMS attributes are not accepted: {reason}"


def test_attributes_that_never_end_are_held_to_their_signers_time(vomsdir):
    """Year 9999 is how X.509 says so; nothing can be added to it."""
    ever = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    proxy = ATLAS.proxy(USER, FQANS, NOW, hours=(ever - NOW).total_seconds() / 3600, start=NOW)
    assert found(reader_of(vomsdir), proxy).until == ATLAS.host.cert.not_valid_after_utc


def test_a_signer_of_a_version_that_there_is_not_is_no_signer(vomsdir):
    whole = ATLAS.host.cert.public_bytes(Encoding.DER)

    class Odd:
        def public_bytes(self, encoding):
            return whole.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)

    said = why(reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW, signers=[Odd()]))
    assert said.endswith("it cannot be read: InvalidVersion")


@pytest.mark.parametrize(
    "change",
    [
        {"vo": "a" * 20_000, "fqans": ("/" + "a" * 20_000,)},
        {"more": [der(SEQUENCE, der(OID, b"\x2a" + b"\x01" * 20_000), der(BOOLEAN, b"\xff"), der(OCTETS, b""))]},
    ],
    ids=["a name of a VO", "an OID"],
)
def test_what_is_said_of_attributes_is_short_however_long_their_parts_are(vomsdir, change):
    assert len(why(reader_of(vomsdir), ATLAS.proxy(USER, now=NOW, **({"fqans": FQANS} | change)))) <= 300


@pytest.mark.parametrize(
    "fqans", [("/cms/Role=production",), (*FQANS, "/cms"), ("/atlassian/Role=production",)], ids=str
)
def test_a_vo_cannot_speak_for_another(vomsdir, fqans):
    said = why(reader_of(vomsdir), ATLAS.proxy(USER, fqans, NOW))
    assert said.endswith("the VO atlas cannot speak for another")


def test_a_server_of_one_vo_cannot_sign_for_another(vomsdir):
    said = why(reader_of(vomsdir), CMS.proxy(USER, FQANS, NOW, vo="atlas"))
    assert said.endswith("their signer /DC=local/DC=pandatx/CN=voms.cms is none of those of the VO atlas in vomsdir")


@pytest.mark.parametrize(
    "fqan", ["atlas", "/atlas/Role=", "/atlas/Role=a/b", "/atlas/Role=a b", "/atlas//x", "/", "/atlas\n"]
)
def test_a_fqan_of_another_form_spoils_the_certificate(vomsdir, fqan):
    said = why(reader_of(vomsdir), ATLAS.proxy(USER, (MEMBER, fqan), NOW))
    assert said.endswith("one of its FQANs is not of the form that VOMS gives them")


@pytest.mark.parametrize(("minutes", "believed"), [(-4, True), (12 * 60 + 3, True), (12 * 60 + 5, False)])
def test_clocks_may_differ_a_little(vomsdir, minutes, believed):
    proxy = ATLAS.proxy(USER, FQANS, NOW, start=NOW)
    read = found(reader_of(vomsdir), proxy, now=NOW + timedelta(minutes=minutes))
    assert bool(read.fqans) == believed


def test_the_attributes_of_somebody_else_are_of_no_use(vomsdir):
    stolen = ATLAS.certificate(SOMEBODY.cert, FQANS, NOW)
    said = why(reader_of(vomsdir), make_proxy(USER, NOW, attributes=[stolen]))
    assert said.endswith("they were issued to another certificate")


def test_the_holders_certificate_may_not_be_exchanged_for_one_with_its_number(vomsdir):
    twin = authority._signed(
        authority._builder(
            USER.cert.subject, OTHER_CA.cert.subject, USER.key, NOW, NOW + timedelta(days=1),
            serial=USER.cert.serial_number, issuer_key=OTHER_CA.key,
        ),
        USER.key,
        OTHER_CA,
    )  # fmt: skip
    proxy = make_proxy(twin, NOW, attributes=[ATLAS.certificate(USER.cert, FQANS, NOW)])
    said = why(reader_of(vomsdir, authorities=(CA.cert, OTHER_CA.cert)), proxy, twin)
    assert said.endswith("they were issued to another certificate")


# What cannot be read.


def raw(value: bytes) -> authority.Credential:
    """A proxy with this in the place of attribute certificates."""
    builder, key = authority._end_entity(CA, USER.cert.subject, NOW, 1)
    extended = builder.add_extension(x509.UnrecognizedExtension(voms.EXTENSION, value), critical=False)
    return authority._signed(extended, key, CA)


GOOD = ATLAS.certificate(USER.cert, FQANS, NOW)
UNREADABLE = {
    "nothing": b"",
    "a text": b"/atlas/Role=production",
    "cut short": in_sequence(GOOD)[:-1],
    "more behind it": in_sequence(GOOD) + b"\0",
    "without a length": b"\x30\x80\x30\x80\0\0\0\0",
    "too long": in_sequence(der(OCTETS, b"x" * 65_536)),
    "too deep": b"\x30\x03" * 3 + b"".join(b"\x30\x84\0\0\0\0" for _ in range(1)),
    "too many": in_sequence(*[der(NULL)] * 4_001),
    "too many certificates": in_sequence(*[GOOD] * 9),
    "no sequence": der(OCTETS, GOOD),
}


def deep(levels: int) -> bytes:
    value = der(NULL)
    for _ in range(levels):
        value = der(SEQUENCE, value)
    return value


@pytest.mark.parametrize("value", [*UNREADABLE.values(), deep(25)], ids=[*UNREADABLE, "deep"])
def test_an_extension_that_cannot_be_read_grants_nothing(vomsdir, value):
    credential = raw(value)
    said = why(reader_of(vomsdir), credential, credential)
    assert said.startswith("the VOMS extension cannot be read: ")


@pytest.mark.parametrize(
    "certificate",
    [
        der(NULL),
        deep(20),
        der(SEQUENCE),
        GOOD.replace(oid("1.3.6.1.4.1.8005.100.100.4"), oid("1.3.6.1.4.1.8005.100.100.9")),
    ],
    ids=["null", "deep", "empty", "other attributes"],
)
def test_a_certificate_that_is_none_grants_nothing(vomsdir, certificate):
    credential = raw(in_sequence(certificate))
    assert why(reader_of(vomsdir), credential, credential).startswith("the VOMS attributes are not accepted: it ")


def test_no_attributes_are_believed_in_a_certificate_without_any(vomsdir):
    assert why(reader_of(vomsdir), ATLAS.proxy(USER, (), NOW)).endswith("it has no FQANs, or too many")
    many = [f"/atlas/g{number}" for number in range(513)]
    assert why(reader_of(vomsdir), ATLAS.proxy(USER, many, NOW)).endswith("it has no FQANs, or too many")
