"""Certificates that no library makes: what a client sends of them is refused in words, or has no effect."""

import socket
import warnings

import pytest
import pytest_twisted
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from serving import CA, NOW, USER, in_thread, listeners
from twisted.logger import capturedLogs
from voms_authority import BITS, SEQUENCE, SET, der, extension, in_sequence, make_proxy, oid

from pandatx.identity import authority
from pandatx.identity import der as reading
from pandatx.identity.callers import UNREADABLE
from pandatx.identity.holders import LONG

X400 = der(0xA3, der(SEQUENCE))
NO_ATTRIBUTES = extension("1.3.6.1.4.1.8005.100.100.5", in_sequence())
UTF8, PRINTABLE = 0x0C, 0x13
NAME = reading.only(USER.cert.subject.public_bytes(), SEQUENCE)


def changed(credential, key, change):
    """The DER of a credential's certificate with another content, signed anew."""
    whole = credential.cert.public_bytes(Encoding.DER)
    content, algorithm, _ = (each.whole for each in reading.elements(reading.only(whole, SEQUENCE)))
    content = der(SEQUENCE, *change([each.whole for each in reading.elements(reading.only(content, SEQUENCE))]))
    return der(SEQUENCE, content, algorithm, der(BITS, b"\0" + key.sign(content, ec.ECDSA(hashes.SHA256()))))


def version(number):
    return lambda parts: [der(0xA0, der(2, bytes([number]))), *parts[1:]]


def extended(*more):
    def change(parts):
        return [*parts[:-1], der(0xA3, der(SEQUENCE, reading.only(reading.only(parts[-1], 0xA3), SEQUENCE), *more))]

    return change


def named(tag, value):
    """The name of the user, with one part more."""
    part = der(SET, der(SEQUENCE, oid("2.5.4.3"), der(tag, value)))
    return lambda parts: [*parts[:5], der(SEQUENCE, NAME, part), *parts[6:]]


def ask(port, leaf, key, *chain, path=b"/why"):
    """What the server says over a connection with this chain, or "" where it breaks the handshake off. The chain goes
    to OpenSSL as it is: Python's own ways to do so would look at it."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    lib, ffi = SSL._lib, SSL._ffi
    for at, content in enumerate((leaf, *chain)):
        memory = ffi.new("unsigned char[]", content)
        cert = lib.d2i_X509_bio(lib.BIO_new_mem_buf(memory, len(content)), ffi.NULL)
        assert cert != ffi.NULL
        add = lib.SSL_CTX_add_extra_chain_cert if at else lib.SSL_CTX_use_certificate
        assert add(context._context, cert) == 1
    context.use_privatekey(key)
    with socket.create_connection(("127.0.0.1", port)) as raw:
        connection = SSL.Connection(context, raw)
        connection.set_connect_state()
        answer = b""
        try:
            connection.do_handshake()
            connection.sendall(b"GET " + path + b" HTTP/1.0\r\n\r\n")
            while True:
                answer += connection.recv(65536)
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return answer.partition(b"\r\n\r\n")[2].decode()
        except SSL.Error:
            return ""


@pytest_twisted.async_yield_fixture
async def port(tmp_path):
    service = listeners(tmp_path)
    service.startService()
    yield service.numbers["https"]
    await service.stopService()


def tracebacks(events):
    return [event["log_failure"].value for event in events if "log_failure" in event]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (extended(NO_ATTRIBUTES, NO_ATTRIBUTES), UNREADABLE),
        (version(1), UNREADABLE),
        (version(5), UNREADABLE),
        (extended(extension("2.5.29.31", der(SEQUENCE, der(SEQUENCE, der(0xA0, der(0xA0, X400)))))), UNREADABLE),
        (named(PRINTABLE, b"\xff\xfe"), UNREADABLE),
        (named(BITS, b"\0ab"), UNREADABLE),
        (named(UTF8, b"x" * 1000), LONG),
        (named(UTF8, b"\n" * 300), LONG),
        (named(UTF8, b"a\nb\0"), ""),
        (named(UTF8, b""), ""),
    ],
    ids=[
        "an extension twice", "version 2", "version 6", "a name of X.400", "no text in its name", "bits in its name",
        "a long name", "a name that is long when written", "lines in its name", "an empty part in its name",
    ],
)  # fmt: skip
async def test_a_proxy_that_cannot_be_read_makes_its_user_nobody_and_they_are_told(port, change, why):
    proxy = make_proxy(USER, NOW)
    user = USER.cert.public_bytes(Encoding.DER)
    with warnings.catch_warnings(), capturedLogs() as events:
        warnings.simplefilter("ignore")  # cryptography's about lengths
        leaf = changed(proxy, USER.key, change)
        assert await in_thread(ask, port, leaf, proxy.key, user) == why
        who = await in_thread(lambda: ask(port, leaf, proxy.key, user, path=b"/who"))
    assert who == ("None False" if why else "/DC=local/DC=pandatx/CN=user False")
    assert tracebacks(events) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (version(5), "somebody whose certificate cannot be read"),
        (named(PRINTABLE, b"\xff\xfe"), "somebody whose certificate cannot be read"),
        (named(UTF8, b"\n" * 60_000), "/DC=local/DC=pandatx/CN=user/CN=" + r"\x0A" * 67),
    ],
    ids=["version 6", "no text in its name", "a long name"],
)
async def test_what_strangers_present_is_one_short_line_in_the_log(port, change, name):
    stranger = authority.make_authority(CA.dn, NOW)
    with capturedLogs() as events:
        assert await in_thread(ask, port, changed(stranger, stranger.key, change), stranger.key) == ""
    assert tracebacks(events) == []
    assert [event["dn"] for event in events if "dn" in event] == [name]


def test_what_is_asked_is_what_was_signed():
    """Else the others would show nothing."""
    proxy = make_proxy(USER, NOW)
    leaf = changed(proxy, USER.key, lambda parts: parts)
    crypto.load_certificate(crypto.FILETYPE_ASN1, leaf).to_cryptography().verify_directly_issued_by(USER.cert)
