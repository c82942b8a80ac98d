"""Names of certificate holders (reference/wire.md 1.5.2)."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pandatx.identity import authority, names

NOW = datetime(2026, 1, 1, tzinfo=UTC)

NAMES = [
    ("/DC=ch/DC=cern/OU=Organic Units/OU=Users/CN=jdoe/CN=614260/CN=John Doe", "John Doe"),
    ("/DC=ch/DC=cern/OU=Organic Units/OU=Users/CN=jdoe/CN=614260/CN=John Doe/CN=proxy", "John Doe"),
    ("/DC=ch/DC=cern/OU=Users/CN=jdoe/CN=614260/CN=John Doe/CN=limited proxy", "John Doe"),
    ("/DC=ch/DC=cern/OU=Users/CN=jdoe/CN=614260/CN=John Doe/CN=1234567890", "John Doe"),
    ("/DC=ch/DC=cern/OU=Users/CN=atlpilo1/CN=614260/CN=Robot: ATLAS Pilot1", "atlpilo1"),
    ("/DC=local/DC=pandatx/CN=production", "production"),
    ("/DC=org/DC=doegrids/OU=People/CN=John Doe 123456", "John Doe"),
    ("/O=GermanGrid/OU=LMU/CN=John_Doe_42", "John_Doe"),
    ("/C=UK/O=eScience/OU=Oxford/L=OeSC/CN=john (doe)", "john doe"),
    ("/C=IT/O=INFN/CN=John O'Doe", "John ODoe"),
    ("/C=FR/O=CNRS/CN=John Doe/emailAddress=doe@cnrs.fr", "John Doe"),
    ("/C=FR/O=CNRS/CN=John Doe/Email=doe@cnrs.fr", "John Doe"),
    ("/C=FR/O=CNRS/CN=John Doe john.doe@cnrs.fr", "John Doe"),
    ("/C=FR/O=CNRS/CN=Doe john.doe@cnrs.fr", "Doe john.doe@cnrs.fr"),
    ("/C=FR/O=CNRS/CN=John Doe John.Doe@cnrs.fr", "John Doe John.Doe@cnrs.fr"),
    ("/O=x/CN=123abc", "abc"),
    ("/UID=jdoe/CN=John Doe", "/UID=jdoeJohn Doe"),
    ("John Doe/CN=nickname:jdoe", "John Doe"),
    ("John Doe", "John Doe"),
    ("/DC=ch/CN=12345", "/DC=ch/CN=12345"),
    ("", ""),
]


@pytest.mark.parametrize(("dn", "name"), NAMES)
def test_a_compact_name_is_what_older_servers_wrote_for_the_same_dn(dn, name):
    assert names.compact_name(dn) == name


@given(st.text())
def test_any_text_has_a_compact_name_and_it_is_empty_for_none_only(text):
    assert bool(names.compact_name(text)) == bool(text)


@given(st.text(alphabet="ABCDEFGHIJabcdefghij ", min_size=1).filter(lambda text: text.strip() == text))
def test_a_proxy_of_somebody_has_the_name_of_somebody(person):
    dn = f"/DC=ch/DC=cern/OU=Users/CN={person}"
    for tail in ("/CN=proxy", "/CN=limited proxy", "/CN=1234567", "/CN=proxy/CN=proxy", "/CN=77/CN=88"):
        assert names.compact_name(dn + tail) == names.compact_name(dn)
        assert names.bare_dn(dn + tail) == dn


def test_numbers_inside_a_dn_are_not_proxy_parts():
    dn = "/DC=ch/CN=jdoe/CN=614260/CN=John Doe"
    assert names.bare_dn(dn) == dn
    assert names.bare_dn("/DC=ch/CN=proxyman") == "/DC=ch/CN=proxyman"


def certificate(*parts):
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    key = ec.generate_private_key(ec.SECP256R1())
    ca = authority.make_authority("/O=x/CN=CA", NOW)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca.cert.subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
    return builder.sign(ca.key, authority.hashes.SHA256())


def test_the_slash_dn_keeps_the_order_and_the_short_names_of_openssl():
    cert = certificate(
        (NameOID.DOMAIN_COMPONENT, "ch"),
        (NameOID.DOMAIN_COMPONENT, "cern"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Users"),
        (NameOID.COMMON_NAME, "John Doe"),
        (NameOID.EMAIL_ADDRESS, "doe@cern.ch"),
        (NameOID.BUSINESS_CATEGORY, "Institute"),
        (x509.ObjectIdentifier("1.2.3.4.5"), "odd"),
    )
    assert names.slash_dn(cert) == (
        "/DC=ch/DC=cern/OU=Users/CN=John Doe/emailAddress=doe@cern.ch/businessCategory=Institute/1.2.3.4.5=odd"
    )


def test_a_slash_in_a_name_makes_no_second_rdn():
    assert names.slash_dn(certificate((NameOID.COMMON_NAME, "host/pandaserver.cern.ch"))) == (
        "/CN=host/pandaserver.cern.ch"
    )
    forged = names.slash_dn(certificate((NameOID.COMMON_NAME, "x/DC=local/CN=production")))
    assert names.rdns(forged) == ("CN=x\\x2FDC=local\\x2FCN=production",)


@pytest.mark.parametrize(
    ("value", "looking"),
    [
        ("Jos\\xC3\\xA9", "Jos\\x5CxC3\\x5CxA9"),
        ("x\\x2FCN=y", "x\\x5Cx2FCN=y"),
        ("\\x5Cx2F", "\\x5Cx5Cx2F"),
        ("a\\xyz", "a\\xyz"),
    ],
)
def test_a_name_that_is_spelt_as_another_one_is_written_does_not_look_like_it(value, looking):
    assert names.slash_dn(certificate((NameOID.COMMON_NAME, value))) == f"/CN={looking}"


def test_bytes_that_are_not_printable_ascii_are_written_in_hex():
    assert names.slash_dn(certificate((NameOID.COMMON_NAME, "José\nx"))) == "/CN=Jos\\xC3\\xA9\\x0Ax"
