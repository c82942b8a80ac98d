"""The CA directory: what is read, and what holds when it cannot be read again (rule R13)."""

from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto
from twisted.logger import capturedLogs

from pandatx.identity import authority
from pandatx.identity.trust import GRACE, Trust, read_trust, stamp

NOW = datetime.now(UTC).replace(microsecond=0)
CA = authority.make_authority("/DC=local/CN=CA", NOW)
OTHER = authority.make_authority("/DC=local/CN=other", NOW)
USER = authority.make_user(CA, "/DC=local/CN=user", NOW)
CHAIN = (USER.cert, CA.cert)
HALF = b"-----BEGIN X509 CRL-----\nhalf of it"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(CA.cert_pem())
    (tmp_path / "other.0").write_bytes(OTHER.cert_pem())
    (tmp_path / "ca.r0").write_bytes(authority.make_crl(CA, [USER.cert], NOW))
    return tmp_path


def test_certificates_and_lists_are_read_by_the_names_that_grid_sites_give_them(place):
    (place / "ca.signing_policy").write_text("no certificate")
    trust = read_trust(place)
    assert set(trust.authorities) == {CA.cert, OTHER.cert}
    assert trust.standing(CHAIN, NOW).revoked == USER.dn


def test_a_file_that_was_never_read_is_left_out(place):
    (place / "broken.pem").write_bytes(b"x")
    with capturedLogs() as events:
        assert len(read_trust(place).authorities) == 2
    assert [event["path"] for event in events] == [str(place / "broken.pem")]


@pytest.mark.parametrize("kind", ["an authority", "a list"])
@pytest.mark.parametrize("damage", ["version", "name"])
def test_a_file_that_is_broken_in_a_part_is_left_out_too(place, kind, damage):
    """Parsers look at parts when they are asked for them; then it is too late."""
    whole = OTHER.cert.public_bytes(Encoding.DER)
    if kind == "a list":
        whole = x509.load_pem_x509_crl(authority.make_crl(OTHER, [], NOW)).public_bytes(Encoding.DER)
    if damage == "version":
        changed = whole.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1).replace(
            b"\x02\x01\x01", b"\x02\x01\x09"
        )
    else:
        changed = whole.replace(b"other", b"\xff\xfe\xff\xfe\xff")
    assert changed != whole
    label = b"X509 CRL" if kind == "a list" else b"CERTIFICATE"
    pem = b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, encodebytes(changed), label)
    (place / "odd.r1").write_bytes(pem) if kind == "a list" else (place / "odd.1").write_bytes(pem)
    with capturedLogs() as events:
        trust = read_trust(place)
        trust.fill(crypto.X509Store())
    assert len(events) == 1
    assert set(trust.authorities) == {CA.cert, OTHER.cert}
    assert trust.standing(CHAIN, NOW).revoked == USER.dn


def test_what_cannot_be_read_is_said_once(place):
    (place / "broken.pem").write_bytes(b"x")
    before = read_trust(place)
    (place / "ca.r0").write_bytes(HALF)
    with capturedLogs() as events:
        for _ in range(3):
            before = read_trust(place, before, NOW)
    assert [event["path"] for event in events] == [str(place / "ca.r0")]
    for file in place.iterdir():
        file.unlink()
    with capturedLogs() as events:
        for _ in range(3):
            before = read_trust(place, before, NOW)
    assert [event["path"] for event in events] == [str(place)]
    assert before.standing(CHAIN, NOW).revoked == USER.dn


def test_a_file_that_is_there_under_several_names_is_parsed_once_and_not_again_while_it_is_the_same(place):
    (place / "1234.0").symlink_to(place / "ca.pem")
    first = read_trust(place)
    assert first.files[str(place / "1234.0")] is first.files[str(place / "ca.pem")]
    assert read_trust(place, first) is first
    (place / "1234.0").unlink()
    again = read_trust(place, first)
    assert again is not first
    assert again.files[str(place / "ca.r0")] is first.files[str(place / "ca.r0")]


def test_a_large_list_is_looked_through_once_however_often_others_change(place, monkeypatch):
    first = read_trust(place)
    monkeypatch.setattr("pandatx.identity.trust._signed_by", lambda crl, issuer: pytest.fail("looked through again"))
    (place / "other.0").unlink()
    assert read_trust(place, first).standing(CHAIN, NOW).revoked == USER.dn


def test_a_list_that_is_half_written_is_as_it_was_and_says_nothing_new_for_an_hour_at_most(place):
    before = read_trust(place)
    (place / "ca.r0").write_bytes(HALF)
    trust = read_trust(place, before, NOW)
    assert trust.standing(CHAIN, NOW).revoked == USER.dn
    somebody = (authority.make_user(CA, "/DC=local/CN=somebody", NOW).cert, CA.cert)
    assert not trust.standing(somebody, NOW + GRACE).stale
    assert trust.standing(somebody, NOW).until == NOW + GRACE
    still = read_trust(place, trust, NOW + timedelta(minutes=30))
    assert still.standing(somebody, NOW + GRACE + timedelta(seconds=1)).stale
    of_other = (authority.make_user(OTHER, "/DC=local/CN=else", NOW).cert, OTHER.cert)
    assert not still.standing(of_other, NOW + GRACE + timedelta(seconds=1)).stale
    (place / "ca.r0").write_bytes(authority.make_crl(CA, [], NOW + timedelta(minutes=1)))
    assert not read_trust(place, still, NOW + timedelta(hours=2)).held


@pytest.mark.parametrize("how", ["empty", "gone"])
def test_a_folder_that_cannot_be_read_any_more_is_as_it_was(place, how):
    before = read_trust(place)
    for file in place.iterdir():
        file.unlink()
    if how != "empty":
        place.rmdir()
    trust = read_trust(place, before, NOW)
    assert trust.authorities == before.authorities
    assert trust.standing(CHAIN, NOW).revoked == USER.dn
    assert set(trust.held.values()) == {NOW}
    assert set(read_trust(place, trust, NOW + GRACE).held.values()) == {NOW}


def test_a_list_that_was_taken_away_is_gone(place):
    before = read_trust(place)
    (place / "ca.r0").unlink()
    trust = read_trust(place, before)
    assert not trust.crls
    assert not trust.standing(CHAIN, NOW).revoked


def test_without_an_earlier_reading_a_folder_that_is_not_there_knows_nobody(tmp_path):
    assert not read_trust(tmp_path / "missing").authorities
    assert not read_trust(None).authorities
    assert not Trust().standing(CHAIN, NOW).stale


def test_the_stamp_of_what_is_not_there_is_one_too(place):
    first = stamp([place, None, place / "missing"])
    (place / "ca.r0").unlink()
    assert stamp([place, None, place / "missing"]) != first


def test_a_file_that_may_be_read_at_last_is_another(place):
    first = stamp([place])
    assert stamp([place]) == first
    (place / "ca.pem").chmod(0o400)
    assert stamp([place]) != first
