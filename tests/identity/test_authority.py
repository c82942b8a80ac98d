"""The private CA."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from pandatx.identity import authority

NOW = datetime.now(UTC).replace(microsecond=0)
CA = authority.make_authority("/DC=local/DC=pandatx/CN=CA", NOW)
USER = authority.make_user(CA, "/DC=local/DC=pandatx/CN=user", NOW)


def test_a_credential_survives_being_written_and_read():
    proxy = authority.make_proxy(USER, NOW)
    again = authority.load(proxy.pem())
    assert again.cert == proxy.cert
    assert again.chain == (USER.cert, CA.cert)
    assert again.key_pem() == proxy.key_pem()


def test_python_takes_a_proxy_file_for_certificate_key_and_authority(tmp_path):
    file = tmp_path / "proxy.pem"
    file.write_bytes(authority.make_proxy(USER, NOW).pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(file)
    context.load_verify_locations(file)


def test_a_proxy_never_outlives_what_it_stands_for():
    first = authority.make_proxy(USER, NOW, hours=1)
    second = authority.make_proxy(first, NOW, hours=100)
    assert second.cert.not_valid_after_utc == first.cert.not_valid_after_utc == NOW + timedelta(hours=1)
    with pytest.raises(ValueError, match="expired"):
        authority.make_proxy(first, NOW + timedelta(hours=2))


def test_a_host_certificate_names_hosts_and_addresses():
    host = authority.make_host(CA, ["localhost", "127.0.0.1", "::1", "localhost"], NOW)
    names = host.cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("pem", [b"", b"nonsense", USER.cert_pem(), USER.key_pem(), USER.cert_pem() + CA.key_pem()])
def test_a_file_that_is_no_credential_is_refused(pem):
    with pytest.raises(ValueError):
        authority.load(pem)


def test_an_unknown_part_of_a_dn_is_refused():
    with pytest.raises(ValueError, match="XX"):
        authority.dn_to_name("/XX=y")
