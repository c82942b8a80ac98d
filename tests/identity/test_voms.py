"""VOMS attributes: which are believed, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs
from voms_authority import (
    BOOLEAN,
    NULL,
    OCTETS,
    OID,
    SEQUENCE,
    TARGETS,
    VomsServer,
    der,
    extension,
    in_sequence,
    make_intermediate,
    make_proxy,
    oid,
)

from pandatx.identity import authority, voms
from pandatx.identity.trust import Trust
from pandatx.identity.voms_reader import Attributes, VomsReader
from pandatx.identity.vomsdir import read_vomsdir

NOW = datetime.now(UTC).replace(microsecond=0)
CA = authority.make_authority("/DC=local/DC=pandatx/CN=CA", NOW)
OTHER_CA = authority.make_authority("/DC=local/DC=other/CN=CA", NOW)
USER = authority.make_user(CA, "/DC=local/DC=pandatx/CN=user", NOW)
SOMEBODY = authority.make_user(CA, "/DC=local/DC=pandatx/CN=somebody", NOW)
ATLAS = VomsServer.make("atlas", CA, NOW)
CMS = VomsServer.make("cms", CA, NOW)
RSA_KEY = rsa.generate_private_key(65537, 2048)
OF_RSA = VomsServer.make("atlas", CA, NOW, RSA_KEY)
PRODUCTION = "/atlas/Role=production/Capability=NULL"
MEMBER = "/atlas/Role=NULL/Capability=NULL"
FQANS = (PRODUCTION, MEMBER)
RECORDED = Path(__file__).parent / "voms_proxy_fake.pem"


@pytest.fixture
def vomsdir(tmp_path: Path) -> Path:
    for server in (ATLAS, CMS):
        server.trust(tmp_path)
    return tmp_path


def reader_of(vomsdir: Path | None, *crls: bytes, authorities=(CA.cert,), **how: Any) -> VomsReader:
    reader = VomsReader(vomsdir, **how)
    reader.renew(Trust(authorities, tuple(map(x509.load_pem_x509_crl, crls))))
    return reader


def found(reader: VomsReader, credential: authority.Credential, user=USER, now=NOW) -> Attributes:
    read = reader.read([credential.cert, *credential.chain], user.cert, now)
    assert isinstance(read, Attributes)
    return read


def why(reader: VomsReader, credential: authority.Credential, user=USER, now=NOW) -> str:
    """What is said of attributes that grant nothing."""
    read = found(reader, credential, user, now)
    assert read.fqans == ()
    return read.why


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


# Whom a site trusts.


def test_without_a_list_nobody_speaks_for_a_vo(tmp_path):
    (tmp_path / "atlas").mkdir()
    for place in (None, tmp_path / "missing", tmp_path):
        said = why(reader_of(place), ATLAS.proxy(USER, FQANS, NOW))
        assert said.endswith("the VO atlas has no signer in vomsdir")


def test_a_signer_whose_ca_is_not_trusted_is_none(vomsdir):
    server = VomsServer.make("atlas", OTHER_CA, NOW)
    server.trust(vomsdir)
    said = why(reader_of(vomsdir), server.proxy(USER, FQANS, NOW))
    assert "the certificate of their signer is not accepted" in said
    assert found(reader_of(vomsdir, authorities=(CA.cert, OTHER_CA.cert)), server.proxy(USER, FQANS, NOW)).fqans


def test_a_signer_whose_own_certificate_has_expired_is_none(vomsdir):
    server = VomsServer.make("atlas", CA, NOW, days=-1)
    said = why(reader_of(vomsdir), server.proxy(USER, FQANS, NOW))
    assert "the certificate of their signer is not accepted: certificate has expired" in said


def test_a_user_with_the_name_of_the_server_is_no_signer(vomsdir):
    """The list names the CA above the signer, too."""
    server = VomsServer.make("atlas", OTHER_CA, NOW)
    said = why(reader_of(vomsdir, authorities=(CA.cert, OTHER_CA.cert)), server.proxy(USER, FQANS, NOW))
    assert said.endswith("is none of those of the VO atlas in vomsdir")


def test_a_proxy_of_the_server_does_not_sign_for_it(vomsdir):
    server = VomsServer(vo="atlas", host=make_proxy(ATLAS.host, NOW, subject=ATLAS.host.cert.subject))
    assert "the certificate of their signer is not accepted" in why(reader_of(vomsdir), server.proxy(USER, FQANS, NOW))


def test_a_signer_below_an_intermediate_ca_brings_it_along(tmp_path):
    middle = make_intermediate(CA, "/DC=local/CN=middle", NOW)
    server = VomsServer.make("atlas", middle, NOW)
    server.trust(tmp_path)
    assert found(reader_of(tmp_path), server.proxy(USER, FQANS, NOW)).fqans == FQANS
    alone = why(reader_of(tmp_path), server.proxy(USER, FQANS, NOW, signers=[server.host.cert]))
    assert "the certificate of their signer is not accepted" in alone


def test_a_list_may_end_below_the_root_and_have_several_chains(tmp_path):
    file = ATLAS.trust(tmp_path)
    old = "/DC=gone/CN=voms\n/DC=gone/CN=CA\n"
    file.write_text(f'# two\n{old}------ NEXT CHAIN ------\n"{ATLAS.host.dn}"\n{CA.dn}\n')
    assert found(reader_of(tmp_path), ATLAS.proxy(USER, FQANS, NOW)).fqans == FQANS


def test_kinds_of_parts_of_a_dn_go_by_several_names(tmp_path):
    server = VomsServer.make("atlas", CA, NOW, dn="/DC=local/CN=voms/emailAddress=voms@example.org")
    file = server.trust(tmp_path)
    file.write_text(file.read_text().replace("emailAddress", "Email"))
    assert found(reader_of(tmp_path), server.proxy(USER, FQANS, NOW)).fqans == FQANS


@pytest.mark.parametrize("text", ["", "/DC=local/DC=pandatx/CN=voms.atlas\n", "nonsense\n", "\xff"])
def test_a_list_that_cannot_be_read_is_one_warning_and_lets_nobody_in(tmp_path, text):
    file = ATLAS.trust(tmp_path)
    file.write_text(text, encoding="latin-1")
    with capturedLogs() as events:
        read_vomsdir(tmp_path)
    assert [event["path"] for event in events] == ([str(file)] if text else [])
    assert "has no signer in vomsdir" in why(reader_of(tmp_path), ATLAS.proxy(USER, FQANS, NOW))


@pytest.mark.parametrize("what", ["a file", "its folder", "the whole"])
def test_a_list_that_cannot_be_read_again_is_as_it_was_and_that_is_said_once(vomsdir, monkeypatch, what):
    """Tests may run as root, whom no permission stops."""
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW)
    if what == "a file":
        (vomsdir / "atlas" / "voms.example.org.lsc").write_text("half of it")
    else:
        away = vomsdir / "atlas" if what == "its folder" else vomsdir
        listing = Path.iterdir

        def iterdir(self):
            if self == away:
                raise PermissionError(13, "Permission denied", str(self))
            return listing(self)

        monkeypatch.setattr(Path, "iterdir", iterdir)
    with capturedLogs() as events:
        for _ in range(2):
            reader.renew(reader.trust)
            reader.mark()
    assert [event["what"] for event in events] == ["is as it was before"]
    assert found(reader, proxy).fqans == FQANS


def test_the_older_layout_has_the_servers_certificate_in_the_folder_of_the_vo(tmp_path):
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "voms.pem").write_bytes(ATLAS.host.cert_pem())
    reader = reader_of(tmp_path)
    assert found(reader, ATLAS.proxy(USER, FQANS, NOW)).fqans == FQANS
    assert found(reader, ATLAS.proxy(USER, FQANS, NOW, signers=[])).fqans == FQANS
    assert why(reader, CMS.proxy(USER, FQANS, NOW, vo="atlas")).endswith("in vomsdir")


def test_a_certificate_that_belongs_to_no_vo_is_named_and_lets_nobody_in(tmp_path):
    (tmp_path / "voms.pem").write_bytes(ATLAS.host.cert_pem())
    with capturedLogs() as events:
        reader = reader_of(tmp_path)
    assert [event["fault"] for event in events] == ["it belongs in the folder of its VO"]
    assert why(reader, ATLAS.proxy(USER, FQANS, NOW)).endswith("the VO atlas has no signer in vomsdir")


def test_sha_1_is_taken_where_the_site_says_so(vomsdir):
    proxy = ATLAS.proxy(USER, FQANS, NOW, digest=hashes.SHA1())
    assert found(reader_of(vomsdir, sha1=True), proxy).fqans == FQANS


def test_a_key_that_is_too_short_signs_nothing(tmp_path):
    server = VomsServer.make("atlas", CA, NOW, rsa.generate_private_key(65537, 1024))
    server.trust(tmp_path)
    assert why(reader_of(tmp_path), server.proxy(USER, FQANS, NOW)).endswith("the key of their signer is too short")


# Revocation.


def test_a_signer_that_is_revoked_is_none(vomsdir):
    crl = authority.make_crl(CA, [ATLAS.host.cert], NOW)
    said = why(reader_of(vomsdir, crl), ATLAS.proxy(USER, FQANS, NOW))
    assert said.endswith(f"the certificate of {ATLAS.host.dn} is revoked")


def test_an_intermediate_ca_that_is_revoked_takes_its_servers_along(tmp_path):
    middle = make_intermediate(CA, "/DC=local/CN=middle", NOW)
    server = VomsServer.make("atlas", middle, NOW)
    server.trust(tmp_path)
    crl = authority.make_crl(CA, [middle.cert], NOW)
    assert why(reader_of(tmp_path, crl), server.proxy(USER, FQANS, NOW)).endswith(f"{middle.dn} is revoked")


def test_a_list_of_an_intermediate_ca_that_is_not_in_the_folder_counts(tmp_path):
    middle = make_intermediate(CA, "/DC=local/CN=middle", NOW)
    server = VomsServer.make("atlas", middle, NOW)
    server.trust(tmp_path)
    crl = authority.make_crl(middle, [server.host.cert], NOW)
    assert why(reader_of(tmp_path, crl), server.proxy(USER, FQANS, NOW)).endswith(f"{server.host.dn} is revoked")


def test_a_revocation_list_that_ran_out_holds_for_an_hour(vomsdir):
    crl = authority.make_crl(CA, [], NOW, days=1)
    reader, proxy = reader_of(vomsdir, crl), ATLAS.proxy(USER, FQANS, NOW, hours=48)
    end = NOW + timedelta(days=1, hours=1)
    assert found(reader, proxy).until == end
    assert found(reader, proxy, now=end - timedelta(seconds=1)).fqans == FQANS
    said = why(reader, proxy, now=end + timedelta(seconds=1))
    assert said.endswith(f"a revocation list for their signer {ATLAS.host.dn} is too old")


# Several of them.


def test_of_several_proxies_the_one_nearest_to_the_caller_counts(vomsdir):
    inner = ATLAS.proxy(USER, FQANS, NOW)
    outer = ATLAS.proxy(inner, (MEMBER,), NOW)
    reader = reader_of(vomsdir)
    assert found(reader, outer).fqans == (MEMBER,)
    assert found(reader, authority.make_proxy(inner, NOW)).fqans == FQANS
    expired = ATLAS.proxy(inner, (MEMBER,), NOW, start=NOW - timedelta(days=1))
    assert why(reader, expired).endswith("they have expired")


def test_of_several_certificates_in_a_proxy_each_counts_for_itself(vomsdir):
    both = [ATLAS.certificate(USER.cert, FQANS, NOW), CMS.certificate(USER.cert, ("/cms",), NOW)]
    reader = reader_of(vomsdir)
    assert found(reader, make_proxy(USER, NOW, attributes=both)).fqans == (*FQANS, "/cms")
    both[0] = ATLAS.certificate(USER.cert, FQANS, NOW, start=NOW - timedelta(days=1))
    read = found(reader, make_proxy(USER, NOW, attributes=both))
    assert (read.fqans, read.why) == (("/cms",), "the VOMS attributes are not accepted: they have expired")


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


# Remembered, and renewed.


def test_what_was_judged_is_not_judged_again(vomsdir):
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW)
    assert found(reader, proxy) is found(reader, proxy)


def test_a_list_that_is_taken_away_counts_from_the_next_reading(vomsdir):
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW)
    assert found(reader, proxy).fqans
    mark = reader.mark()
    (vomsdir / "atlas" / "voms.example.org.lsc").unlink()
    assert reader.mark() != mark
    generation = reader.generation
    reader.renew(Trust((CA.cert,)))
    assert reader.generation == generation + 1
    assert why(reader, proxy).endswith("the VO atlas has no signer in vomsdir")


def test_a_refusal_is_thought_over_after_a_minute(vomsdir):
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW, start=NOW + timedelta(minutes=5, seconds=30))
    assert why(reader, proxy).endswith("not valid yet")
    assert why(reader, proxy, now=NOW + timedelta(seconds=59)).endswith("not valid yet")
    assert found(reader, proxy, now=NOW + timedelta(seconds=60)).fqans == FQANS


def test_one_cause_is_one_warning_for_each_holder(vomsdir):
    reader = reader_of(vomsdir)
    with capturedLogs() as events:
        for user in (USER, USER, SOMEBODY):
            why(reader, ATLAS.proxy(user, FQANS, NOW, start=NOW - timedelta(days=1)), user)
    assert [event["dn"] for event in events] == [USER.dn, SOMEBODY.dn]
    assert {event["fault"] for event in events} == {"the VOMS attributes are not accepted: they have expired"}


async def test_what_is_new_is_judged_off_the_reactors_thread_and_what_is_known_at_once(vomsdir):
    works: list[Any] = []
    waiting: Deferred[Any] = Deferred()

    def in_thread(work):
        works.append(work)
        return waiting

    reader = reader_of(vomsdir, in_thread=in_thread)
    proxy = ATLAS.proxy(USER, FQANS, NOW)
    reading = reader.read([proxy.cert, *proxy.chain], USER.cert, NOW)
    judged = Deferred.fromCoroutine(reading)
    assert not judged.called
    waiting.callback(works[0]())
    assert (await judged).fqans == FQANS
    assert found(reader, proxy).fqans == FQANS
    assert len(works) == 1


async def test_a_verdict_by_what_no_longer_counts_is_not_kept(vomsdir):
    reader = reader_of(vomsdir, in_thread=lambda work: succeed(work()))
    proxy = ATLAS.proxy(USER, FQANS, NOW)
    reading = reader.read([proxy.cert, *proxy.chain], USER.cert, NOW)
    reader.renew(Trust())
    await Deferred.fromCoroutine(reading)
    again = await Deferred.fromCoroutine(reader.read([proxy.cert, *proxy.chain], USER.cert, NOW))
    assert again.fqans == ()
