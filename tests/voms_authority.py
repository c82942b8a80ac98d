"""A VOMS authority for tests: signs attribute certificates, right ones and wrong ones of every kind, into proxies.

It writes DER by itself, so that what reads it in the server is not what made it. The form is that of VOMS servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from pandatx.identity import authority, names, proxies
from pandatx.identity.authority import Credential

EXTENSION = ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5")
FQANS, SIGNERS = "1.3.6.1.4.1.8005.100.100.4", "1.3.6.1.4.1.8005.100.100.10"
NO_REVOCATION, KEY_ID, TARGETS = "2.5.29.56", "2.5.29.35", "2.5.29.55"
OF_RSA = {
    hashes.SHA1: "1.2.840.113549.1.1.5",
    hashes.SHA256: "1.2.840.113549.1.1.11",
    hashes.SHA512: "1.2.840.113549.1.1.13",
}
OF_EC = {hashes.SHA1: "1.2.840.10045.4.1", hashes.SHA256: "1.2.840.10045.4.3.2", hashes.SHA512: "1.2.840.10045.4.3.4"}
SEQUENCE, SET, INTEGER, BITS, OCTETS, NULL, OID, BOOLEAN, TIME = 0x30, 0x31, 2, 3, 4, 5, 6, 1, 0x18


def der(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def integer(value: int) -> bytes:
    return der(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    return proxies.der_oid(ObjectIdentifier(dotted))


def general_names(name: x509.Name) -> bytes:
    """GeneralNames of one directoryName."""
    return der(SEQUENCE, der(0xA4, name.public_bytes()))


def extension(dotted: str, value: bytes, critical: bool = False) -> bytes:
    return der(SEQUENCE, oid(dotted), *([der(BOOLEAN, b"\xff")] if critical else []), der(OCTETS, value))


def in_sequence(*certificates: bytes) -> bytes:
    """As VOMS wraps attribute certificates, and the certificates of a signer: a sequence in a sequence."""
    return der(SEQUENCE, der(SEQUENCE, *certificates))


def attributes(vo: str, fqans: Iterable[str], uri: str | None = None) -> bytes:
    """The one attribute of an attribute certificate: who speaks, and the FQANs."""
    authority_of = der(0xA0, der(0x86, (uri or f"{vo}://voms.example.org:15000").encode()))
    values = der(SEQUENCE, *(der(OCTETS, fqan.encode()) for fqan in fqans))
    return der(SEQUENCE, der(SEQUENCE, oid(FQANS), der(SET, der(SEQUENCE, authority_of, values))))


@frozen(kw_only=True)
class VomsServer:
    """A VO's server: signs for ``vo`` with a host certificate."""

    vo: str
    host: Credential

    @classmethod
    def make(cls, vo: str, ca: Credential, now: datetime, key: Any = None, days: int = 300, dn: str = "") -> VomsServer:
        return cls(vo=vo, host=make_signer(ca, dn or f"/DC=local/DC=pandatx/CN=voms.{vo}", now, key, days))

    def trust(self, vomsdir: Path, vo: str | None = None) -> Path:
        """Write the .lsc file by which a site trusts this server."""
        folder = vomsdir / (vo or self.vo)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "voms.example.org.lsc"
        dns = [self.host.dn, *(names.slash_dn(cert) for cert in self.host.chain)]
        file.write_text("".join(f"{dn}\n" for dn in dns))
        return file

    def certificate(
        self,
        holder: x509.Certificate,
        fqans: Sequence[str],
        now: datetime,
        *,
        hours: float = 12,
        digest: hashes.HashAlgorithm | None = None,
        vo: str | None = None,
        uri: str | None = None,
        holder_name: x509.Name | None = None,
        holder_serial: int | None = None,
        issuer: x509.Name | None = None,
        signers: Sequence[x509.Certificate] | None = None,
        more: Sequence[bytes] = (),
        forged: str | None = None,
        version: int = 1,
        start: datetime | None = None,
        key: Any = None,
        named_algorithm: str | None = None,
    ) -> bytes:
        """The DER of an attribute certificate of ``holder``; the rest makes it a wrong one. ``forged`` is put in the
        place of the first FQAN, which is as long, once it is signed."""
        digest = digest or hashes.SHA256()
        key = key or self.host.key
        algorithm = _algorithm(key, digest)
        serial = holder.serial_number if holder_serial is None else holder_serial
        start = start or now - timedelta(minutes=1)
        brought = (self.host.cert, *self.host.chain[:-1]) if signers is None else signers
        extensions = [
            extension(KEY_ID, der(SEQUENCE, der(0x80, b"\x01" * 20))),
            extension(NO_REVOCATION, der(NULL)),
            *([extension(SIGNERS, in_sequence(*map(_cert, brought)))] if brought else []),
            *more,
        ]
        info = der(
            SEQUENCE,
            integer(version),
            der(SEQUENCE, der(0xA0, general_names(holder_name or holder.issuer), integer(serial))),
            der(0xA0, general_names(issuer or self.host.cert.subject)),
            _algorithm(key, digest, named_algorithm),
            integer(x509.random_serial_number()),
            der(SEQUENCE, _time(start), _time(start + timedelta(hours=hours))),
            attributes(vo or self.vo, fqans, uri),
            der(SEQUENCE, *extensions),
        )
        signature = _sign(key, info, digest)
        if forged is not None:
            assert len(forged) == len(fqans[0])
            info = info.replace(fqans[0].encode(), forged.encode())
        return der(SEQUENCE, info, algorithm, der(BITS, b"\0" + signature))

    def proxy(self, user: Credential, fqans: Sequence[str], now: datetime, **how: Any) -> Credential:
        """A proxy of ``user`` with an attribute certificate; ``how`` as for ``certificate``."""
        return make_proxy(user, now, attributes=[self.certificate(_end_entity(user), fqans, now, **how)])


def make_proxy(
    holder: Credential,
    now: datetime,
    *,
    attributes: Sequence[bytes] = (),
    policy: ObjectIdentifier = proxies.INHERIT_ALL_POLICY,
    path_length: int | None = None,
    last_name: str = "1234567",
    subject: x509.Name | None = None,
    info: bytes | None = None,
    legacy: bool = False,
    hours: float = 12,
) -> Credential:
    """A proxy of every good and bad kind; a ``legacy`` one is that of Globus before RFC 3820."""
    key = ec.generate_private_key(ec.SECP256R1())
    common_name = x509.NameAttribute(NameOID.COMMON_NAME, last_name)
    name = subject or x509.Name([*holder.cert.subject.rdns, x509.RelativeDistinguishedName([common_name])])
    end = min(now + timedelta(hours=hours), holder.cert.not_valid_after_utc)
    start = max(now - timedelta(minutes=5), holder.cert.not_valid_before_utc)
    builder = authority._builder(name, holder.cert.subject, key, start, end, issuer_key=holder.key)
    builder = builder.add_extension(authority._usage(digital_signature=True), critical=True)
    if not legacy:
        value = proxies.der_proxy_info(policy, path_length) if info is None else info
        builder = builder.add_extension(x509.UnrecognizedExtension(proxies.PROXY_CERT_INFO, value), critical=True)
    if attributes:
        voms = x509.UnrecognizedExtension(EXTENSION, in_sequence(*attributes))
        builder = builder.add_extension(voms, critical=False)
    return authority._signed(builder, key, holder)


def make_intermediate(ca: Credential, dn: str, now: datetime) -> Credential:
    """A CA below a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = ca.cert.not_valid_after_utc
    builder = authority._builder(authority.dn_to_name(dn), ca.cert.subject, key, now, end, issuer_key=ca.key)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return authority._signed(
        builder.add_extension(authority._usage(key_cert_sign=True, crl_sign=True), critical=True), key, ca
    )


def make_signer(ca: Credential, dn: str, now: datetime, key: Any = None, days: int = 300) -> Credential:
    """A host certificate with a key of any kind."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    start = now - timedelta(days=400)
    builder = authority._builder(
        authority.dn_to_name(dn), ca.cert.subject, key, start, now + timedelta(days=days), issuer_key=ca.key
    )
    return authority._signed(
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True), key, ca
    )


def _end_entity(user: Credential) -> x509.Certificate:
    return next(cert for cert in (user.cert, *user.chain) if proxies.proxy_info(cert) is None)


def _algorithm(key: Any, digest: hashes.HashAlgorithm, named: str | None = None) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return der(SEQUENCE, oid(named or OF_RSA[type(digest)]), der(NULL))
    return der(SEQUENCE, oid(named or OF_EC[type(digest)]))


def _sign(key: Any, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    return key.sign(data, ec.ECDSA(digest))


def _cert(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.DER)


def _time(when: datetime) -> bytes:
    return der(TIME, when.strftime("%Y%m%d%H%M%SZ").encode())
