"""RFC 3820 proxy certificates: which certificates of a chain are proxies, whose they are, and which are limited."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from pandatx.identity import der

PROXY_CERT_INFO = ObjectIdentifier("1.3.6.1.5.5.7.1.14")
LIMITED_POLICY = ObjectIdentifier("1.3.6.1.4.1.3536.1.1.1.9")
INHERIT_ALL_POLICY = ObjectIdentifier("1.3.6.1.5.5.7.21.1")
INDEPENDENT_POLICY = ObjectIdentifier("1.3.6.1.5.5.7.21.2")


def proxy_info(cert: x509.Certificate) -> bytes | None:
    """The DER of the proxyCertInfo extension; None when this is no proxy. ValueError for broken extensions."""
    for extension in cert.extensions:
        if extension.oid == PROXY_CERT_INFO:
            value = extension.value
            return value.value if isinstance(value, x509.UnrecognizedExtension) else value.public_bytes()
    return None


def is_limited(cert: x509.Certificate, info: bytes) -> bool:
    """Whether this proxy is limited, by its last CN or by its policy; one that cannot be read is taken for limited."""
    common_names = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if common_names and common_names[-1].value == "limited proxy":
        return True
    try:
        return policy_language(info) == _LIMITED
    except ValueError:
        return True


def speaks_for_its_issuer(info: bytes) -> bool:
    """Whether a proxy's policy is one by which it has its issuer's rights, all of them or the limited ones.

    An independent proxy has none of them, and what another policy says nobody here can tell.
    """
    try:
        return policy_language(info) in _INHERITING
    except ValueError:
        return True  # taken for a limited one


def policy_language(info: bytes) -> bytes:
    """The DER of the policy's OID in ``ProxyCertInfo ::= SEQUENCE { pathLen INTEGER OPTIONAL, SEQUENCE { OID, ...``"""
    body = der.only(info, der.SEQUENCE)
    if body[:1] == bytes([der.INTEGER]):
        _, body = der.first_of(body, der.INTEGER)
    policy, _ = der.first_of(body, der.SEQUENCE)
    return der.first_of(policy.content, der.OID)[0].whole


def der_oid(oid: ObjectIdentifier) -> bytes:
    """The DER of an OID whose parts are small, as all of those here are."""
    first, second, *rest = (int(part) for part in oid.dotted_string.split("."))
    content = bytearray([40 * first + second])
    for part in rest:
        seven = [part & 0x7F]
        while part := part >> 7:
            seven.append(0x80 | (part & 0x7F))
        content += bytes(reversed(seven))
    return bytes([der.OID, len(content)]) + bytes(content)


def der_proxy_info(policy: ObjectIdentifier, path_length: int | None = None) -> bytes:
    """The extension's value for a new proxy; ``path_length`` is how many further proxies it may issue, at most 127."""
    inner = der_oid(policy)
    body = b"" if path_length is None else bytes([der.INTEGER, 1, path_length])
    body += bytes([der.SEQUENCE, len(inner)]) + inner
    return bytes([der.SEQUENCE, len(body)]) + body


_LIMITED = der_oid(LIMITED_POLICY)
_INHERITING = frozenset((der_oid(INHERIT_ALL_POLICY), _LIMITED))
