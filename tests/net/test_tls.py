"""Handshakes on loopback: who gets in and as whom, and what a reload changes."""

import contextlib
import socket
import ssl
import subprocess
from datetime import timedelta

import pytest
import voms_authority
from serving import CA, HOST, NOW, OTHER_CA, USER, ask, client_context, get, in_thread, listeners, write_settings
from twisted.logger import capturedLogs

from pandatx.errors import EXIT_CERTIFICATE, StartFault
from pandatx.identity import authority
from pandatx.identity.voms_reader import VomsReader
from pandatx.net.tls import ServerTLS

PROXY = authority.make_proxy(USER, NOW)
DEEP = authority.make_proxy(PROXY, NOW)
LIMITED = authority.make_proxy(USER, NOW, limited=True)
USER_DN = "/DC=local/DC=pandatx/CN=user"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (None, "None False"),
        (USER, f"{USER_DN} False"),
        (PROXY, f"{USER_DN} False"),
        (DEEP, f"{USER_DN} False"),
        (LIMITED, f"{USER_DN} True"),
    ],
    ids=["nobody", "user", "proxy", "proxy of a proxy", "limited proxy"],
)
async def test_a_caller_is_known_by_certificate_or_proxy_and_needs_neither(tmp_path, credential, said, version):
    assert await ask(tmp_path, credential, version) == (200, said)


OUTSIDER = authority.make_user(OTHER_CA, "/CN=outsider", NOW)
IMPOSTOR = authority._signed(
    authority._builder(
        authority.dn_to_name("/CN=production"), USER.cert.subject, USER.key, NOW, PROXY.cert.not_valid_after_utc
    ),
    USER.key,
    USER,
)


async def test_a_certificate_that_does_not_verify_ends_the_handshake(tmp_path):
    with pytest.raises((ssl.SSLError, OSError)):
        await ask(tmp_path, OUTSIDER, ssl.TLSVersion.TLSv1_2)


LEGACY = authority._signed(
    authority._builder(
        authority.dn_to_name(f"{USER_DN}/CN=proxy"), USER.cert.subject, USER.key, NOW, PROXY.cert.not_valid_after_utc
    ),
    USER.key,
    USER,
)


NO_CA = "it is no CA, yet it has signed another: a proxy of the legacy Globus kind? Only RFC 3820 proxies are taken"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "credential",
    [LEGACY, voms_authority.make_proxy(LEGACY, NOW, last_name="proxy", legacy=True), IMPOSTOR],
    ids=["legacy proxy", "two of them", "a certificate issued by a user"],
)
async def test_who_has_a_proxy_of_the_legacy_kind_is_nobody_and_is_told(tmp_path, credential, version):
    assert await ask(tmp_path, credential, version) == (200, "None False")
    assert (await ask(tmp_path, credential, version, path="/why"))[1].endswith(NO_CA)


@pytest.mark.parametrize(
    ("credential", "why"),
    [(LEGACY, NO_CA), (OUTSIDER, "its CA is not among those in ca_dir")],
    ids=["legacy proxy", "of another CA"],
)
async def test_a_refusal_is_logged_with_address_name_and_reason(tmp_path, credential, why):
    with capturedLogs() as events:
        with contextlib.suppress(ssl.SSLError, OSError):
            await ask(tmp_path, credential, ssl.TLSVersion.TLSv1_2)
    (said,) = [event for event in events if event.get("why")]
    assert said["why"] == why
    assert said["address"] == "127.0.0.1"
    assert said["dn"] == (USER_DN if credential is LEGACY else OTHER_CA.dn)


def revoke(*certs):
    def write(folder):
        (folder / "ca.r0").write_bytes(authority.make_crl(CA, certs, NOW))

    return write


@pytest.mark.parametrize("credential", [USER, PROXY, DEEP], ids=["user", "proxy", "proxy of a proxy"])
async def test_a_revoked_user_and_their_proxies_are_refused(tmp_path, credential):
    with pytest.raises((ssl.SSLError, OSError)):
        await ask(tmp_path, credential, ssl.TLSVersion.TLSv1_2, prepare=revoke(USER.cert))


@pytest.mark.parametrize("credential", [USER, PROXY], ids=["user", "proxy"])
async def test_a_revocation_list_leaves_others_alone(tmp_path, credential):
    assert (await ask(tmp_path, credential, prepare=revoke(HOST.cert)))[0] == 200


@pytest.mark.parametrize(("age", "limited"), [(24.5, False), (26, True)])
async def test_a_revocation_list_that_ran_out_holds_for_an_hour_and_then_refuses_secure_calls(tmp_path, age, limited):
    def prepare(folder):
        old = authority.make_crl(CA, [HOST.cert], NOW - timedelta(hours=age), days=1)
        (folder / "ca.r0").write_bytes(old)

    assert await ask(tmp_path, PROXY, prepare=prepare) == (200, f"{USER_DN} {limited}")


async def test_a_revocation_list_that_ran_out_still_names_the_revoked(tmp_path):
    def prepare(folder):
        old = authority.make_crl(CA, [USER.cert], NOW - timedelta(days=3), days=1)
        (folder / "ca.r0").write_bytes(old)

    with pytest.raises((ssl.SSLError, OSError)):
        await ask(tmp_path, PROXY, ssl.TLSVersion.TLSv1_2, prepare=prepare)


async def test_a_revocation_list_of_a_ca_whose_clock_is_fast_counts_and_locks_nobody_else_out(tmp_path):
    def prepare(folder):
        (folder / "ca.r0").write_bytes(authority.make_crl(CA, [HOST.cert], NOW + timedelta(hours=1)))

    assert await ask(tmp_path, PROXY, prepare=prepare) == (200, f"{USER_DN} False")
    with pytest.raises((ssl.SSLError, OSError)):
        await ask(tmp_path, HOST, ssl.TLSVersion.TLSv1_2, prepare=prepare)


async def test_a_ca_without_a_list_is_trusted_beside_one_that_has_a_list(tmp_path):
    def prepare(folder):
        revoke(HOST.cert)(folder)
        (folder / "other.0").write_bytes(OTHER_CA.cert_pem())

    assert await ask(tmp_path, OUTSIDER, prepare=prepare) == (200, "/CN=outsider False")


async def test_a_single_file_of_authorities_will_do(tmp_path):
    file = tmp_path / "bundle"
    file.write_bytes(OTHER_CA.cert_pem() + CA.cert_pem())
    assert await ask(tmp_path, PROXY, ca_dir=file) == (200, f"{USER_DN} False")


async def test_one_broken_file_among_the_authorities_does_no_harm(tmp_path):
    def prepare(folder):
        (folder / "broken.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
        (folder / "dangling.0").symlink_to(folder / "gone")

    assert (await ask(tmp_path, PROXY, prepare=prepare))[0] == 200


def session_reused(port, context):
    """Whether a second connection resumes the session of the first, and the protocol on top."""
    session = None
    for _ in range(2):
        with context.wrap_socket(
            socket.create_connection(("localhost", port), 10), server_hostname="localhost", session=session
        ) as connection:
            connection.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while connection.recv(4096):
                pass
            session = connection.session
            found = connection.session_reused, connection.selected_alpn_protocol()
    return found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_is_resumed_and_http_2_is_not_spoken(tmp_path, version):
    service = listeners(tmp_path)
    service.startService()
    context = client_context(tmp_path, PROXY, version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        assert await in_thread(session_reused, service.numbers["https"], context) == (False, "http/1.1")
    finally:
        await service.stopService()


async def test_tls_1_1_is_not_spoken(tmp_path):
    def old():
        context = client_context(tmp_path)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    with pytest.warns(DeprecationWarning):
        context = old()
    service = listeners(tmp_path)
    service.startService()
    try:
        with pytest.raises((ssl.SSLError, OSError)):
            await in_thread(get, service.numbers["https"], context)
    finally:
        await service.stopService()


def curl(port, folder, *extra):
    (folder / "ca.pem").write_bytes(CA.cert_pem())
    command = ["curl", "-s", "--cacert", str(folder / "ca.pem"), *extra, f"https://localhost:{port}/who"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


async def test_curl_takes_a_proxy_file_for_certificate_key_and_authority(tmp_path):
    file = tmp_path / "proxy.pem"
    file.write_bytes(PROXY.pem())
    service = listeners(tmp_path)
    service.startService()
    port = service.numbers["https"]
    options = ["--cert", str(file), "--key", str(file), "--cacert", str(file)]
    try:
        assert await in_thread(curl, port, tmp_path, *options) == f"{USER_DN} False"
    finally:
        await service.stopService()


def serial_seen(port):
    with ssl.create_default_context(cadata=CA.cert_pem().decode()).wrap_socket(
        socket.create_connection(("localhost", port)), server_hostname="localhost"
    ) as connection:
        return int(connection.getpeercert()["serialNumber"], 16)


async def test_a_reload_changes_what_new_connections_see(tmp_path):
    service = listeners(tmp_path)
    service.startService()
    port = service.numbers["https"]
    try:
        assert await in_thread(serial_seen, port) == HOST.cert.serial_number
        new = authority.make_host(CA, ["localhost"], NOW)
        (tmp_path / "hostcert.pem").write_bytes(new.cert_pem())
        assert not service.reload(), "the key is still the old one"
        assert await in_thread(serial_seen, port) == HOST.cert.serial_number
        (tmp_path / "hostkey.pem").write_bytes(new.key_pem())
        assert service.reload()
        assert await in_thread(serial_seen, port) == new.cert.serial_number
    finally:
        await service.stopService()


@pytest.mark.parametrize("how", ["gone", "odd"])
async def test_authorities_are_reread_even_when_the_key_no_longer_can_be(tmp_path, how):
    service = listeners(tmp_path)
    service.startService()
    (tmp_path / "hostkey.pem").unlink()
    if how == "odd":
        (tmp_path / "hostkey.pem").write_bytes(ODD_HOST_KEY)
    (tmp_path / "certificates" / "other.0").write_bytes(OTHER_CA.cert_pem())
    assert not service.reload()
    try:
        context = client_context(tmp_path, OUTSIDER)
        assert await in_thread(get, service.numbers["https"], context) == (200, "/CN=outsider False")
    finally:
        await service.stopService()


def test_files_are_read_again_only_when_they_have_changed(tmp_path):
    vomsdir = tmp_path / "vomsdir"
    (vomsdir / "atlas").mkdir(parents=True)
    reader = VomsReader(vomsdir)
    tls = ServerTLS(write_settings(tmp_path), reader)
    tls.load()
    assert not tls.reload_if_changed()
    (tmp_path / "certificates" / "ca.r0").write_bytes(authority.make_crl(CA, [], NOW))
    assert tls.reload_if_changed()
    assert not tls.reload_if_changed()
    (vomsdir / "atlas" / "voms.lsc").write_text(f"{HOST.dn}\n{CA.dn}\n")
    generation = reader.generation
    assert tls.reload_if_changed()
    assert reader.generation == generation + 1
    assert not tls.reload_if_changed()


def test_a_reload_that_finds_nothing_new_builds_nothing(tmp_path):
    tls = ServerTLS(write_settings(tmp_path))
    tls.load()
    context = tls._context
    assert tls.reload()
    assert tls._context is context
    for name, content in (("ca.r0", authority.make_crl(CA, [], NOW)), ("ca.r0", b"half"), ("other.0", b"x")):
        (tmp_path / "certificates" / name).write_bytes(content)
        assert tls.reload()
        assert tls._context is not context
        context = tls._context
        assert tls.reload()
        assert tls._context is context


def test_what_could_not_be_read_is_tried_again_each_time_and_nobody_is_judged_again_for_it(tmp_path):
    reader = VomsReader()
    tls = ServerTLS(write_settings(tmp_path), reader)
    tls.load()
    file = tmp_path / "certificates" / "ca.r0"
    for content, again in ((authority.make_crl(CA, [], NOW), False), (b"half", True)):
        file.write_bytes(content)
        assert tls.reload_if_changed()
        generation = reader.generation
        assert tls.reload_if_changed() == again
        assert reader.generation == generation


# A version of X.509 that there is not, and a key by GOST R 34.10: parsers have errors of their own for these.
ODD_HOST_CERT = ssl.DER_cert_to_PEM_cert(
    ssl.PEM_cert_to_DER_cert(HOST.cert_pem().decode()).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
).encode()
ODD_HOST_KEY = b"""-----BEGIN PRIVATE KEY-----
MEYCAQAwHwYGKoUDAgITMBUGByqFAwICIwEGCiqFAwcBAQICHgEEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"host_cert": None}, r"host_cert .* cannot be read: No such file"),
        ({"host_key": None}, r"host_key .* cannot be read: No such file"),
        ({"host_cert": b"x"}, r"host_cert .* holds no certificate"),
        ({"host_key": b"x"}, r"host_key .* holds no private key"),
        ({"host_cert": ODD_HOST_CERT}, r"host_cert .* holds no certificate"),
        ({"host_key": ODD_HOST_KEY}, r"host_key .* holds no private key"),
        ({"host_key": USER.key_pem()}, r"host_key .* is not the key of the certificate in .*hostcert.pem"),
    ],
)
def test_a_host_certificate_that_cannot_be_used_is_one_clear_line(tmp_path, change, line):
    settings = write_settings(tmp_path)
    for name, content in change.items():
        path = getattr(settings, name)
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    with pytest.raises(StartFault, match=line) as fault:
        ServerTLS(settings).load()
    assert fault.value.exit_code == EXIT_CERTIFICATE
    assert "\n" not in str(fault.value)


def test_a_key_behind_a_passphrase_is_named_and_nobody_is_asked_for_it(tmp_path):
    serialization = authority.serialization
    settings = write_settings(tmp_path)
    locked = HOST.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    settings.host_key.write_bytes(locked)
    with pytest.raises(StartFault, match="passphrase"):
        ServerTLS(settings).load()


def test_a_key_file_may_hold_the_certificate_too(tmp_path):
    settings = write_settings(tmp_path)
    settings.host_key.write_bytes(HOST.pem())
    settings.host_cert.write_bytes(HOST.pem())
    ServerTLS(settings).load()
