"""A private CA: makes host and user certificates and RFC 3820 proxies, for a first run and for tests."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from pandatx.identity import names, proxies

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_SKEW = timedelta(minutes=5)
_OIDS: dict[str, ObjectIdentifier] = {short.upper(): oid for oid, short in names.SHORT_NAMES.items()}


@frozen(kw_only=True)
class Credential:
    """A certificate with its key, and the certificates that lead from it towards the CA, nearest first."""

    cert: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def dn(self) -> str:
        return names.slash_dn(self.cert)

    def pem(self) -> bytes:
        """Certificate, key and chain, in the order that curl, OpenSSL and grid tools expect of a proxy file."""
        return self.cert_pem() + self.key_pem() + b"".join(map(_pem, self.chain))

    def cert_pem(self) -> bytes:
        return _pem(self.cert)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def load(pem: bytes) -> Credential:
    """Read a file of certificate, key and chain. ValueError, in words for a person, if it is not one."""
    certs = x509.load_pem_x509_certificates(pem)
    try:
        key = serialization.load_pem_private_key(pem[_start_of_key(pem) :], password=None)
    except TypeError:
        raise ValueError("the private key is protected by a passphrase") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("the private key is of a kind that cannot sign")
    if key.public_key() != certs[0].public_key():
        raise ValueError("the private key does not belong to the first certificate")
    return Credential(cert=certs[0], key=key, chain=tuple(certs[1:]))


def _start_of_key(pem: bytes) -> int:
    for label in (b"PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"):
        if (at := pem.find(b"-----BEGIN " + label)) >= 0:
            return at
    raise ValueError("there is no private key in it")


def make_authority(dn: str, now: datetime, days: int = 3650) -> Credential:
    """A new self-signed CA."""
    key = _new_key()
    builder = _builder(dn_to_name(dn), dn_to_name(dn), key, now - _SKEW, now + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return Credential(cert=builder.sign(key, hashes.SHA256()), key=key)


def make_host(authority: Credential, host_names: Iterable[str], now: datetime, days: int = 1095) -> Credential:
    """A server's certificate for host names and IP addresses."""
    alternatives = [_general_name(name) for name in dict.fromkeys(host_names)]
    first = str(alternatives[0].value)
    builder, key = _end_entity(authority, dn_to_name(f"/DC=local/DC=pandatx/CN={first}"), now, days)
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return _signed(builder, key, authority)


def make_user(authority: Credential, dn: str, now: datetime, days: int = 1095) -> Credential:
    """A person's or a robot's certificate, with a DN in slash form."""
    builder, key = _end_entity(authority, dn_to_name(dn), now, days)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return _signed(builder, key, authority)


def make_proxy(holder: Credential, now: datetime, hours: float = 12, limited: bool = False) -> Credential:
    """An RFC 3820 proxy of a user's certificate or of another proxy; it never outlives what it stands for."""
    key = _new_key()
    serial = secrets.randbits(31)
    last_name = x509.NameAttribute(NameOID.COMMON_NAME, str(serial))
    subject = x509.Name([*holder.cert.subject.rdns, x509.RelativeDistinguishedName([last_name])])
    start = max(now - _SKEW, holder.cert.not_valid_before_utc)
    end = min(now + timedelta(hours=hours), holder.cert.not_valid_after_utc)
    if end <= now:
        raise ValueError("the certificate has expired")
    policy = proxies.LIMITED_POLICY if limited or _is_limited(holder.cert) else proxies.INHERIT_ALL_POLICY
    builder = _builder(subject, holder.cert.subject, key, start, end, serial=serial, issuer_key=holder.key)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    info = x509.UnrecognizedExtension(proxies.PROXY_CERT_INFO, proxies.der_proxy_info(policy))
    builder = builder.add_extension(info, critical=True)
    return _signed(builder, key, holder)


def make_crl(authority: Credential, revoked: Iterable[x509.Certificate], now: datetime, days: int = 30) -> bytes:
    """A revocation list of the CA, as PEM."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.cert.subject)
    builder = builder.last_update(now - _SKEW).next_update(now + timedelta(days=days))
    for cert in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(cert.serial_number).revocation_date(now - _SKEW)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, _digest(authority.key)).public_bytes(serialization.Encoding.PEM)


def dn_to_name(dn: str) -> x509.Name:
    """The X.509 name of a DN in slash form."""
    parts = (part.split("=", 1) for part in names.rdns(dn))
    return x509.Name([x509.NameAttribute(_oid(short), value) for short, value in parts])


def _oid(short: str) -> ObjectIdentifier:
    try:
        return _OIDS[short.upper()]
    except KeyError:
        raise ValueError(f"{short} is not a part of a DN that is known here") from None


def _is_limited(cert: x509.Certificate) -> bool:
    info = proxies.proxy_info(cert)
    return info is not None and proxies.is_limited(cert, info)


def _end_entity(
    authority: Credential, subject: x509.Name, now: datetime, days: int
) -> tuple[x509.CertificateBuilder, PrivateKey]:
    key = _new_key()
    end = min(now + timedelta(days=days), authority.cert.not_valid_after_utc)
    builder = _builder(subject, authority.cert.subject, key, now - _SKEW, end, issuer_key=authority.key)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.add_extension(_usage(digital_signature=True), critical=True), key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    start: datetime,
    end: datetime,
    *,
    serial: int | None = None,
    issuer_key: PrivateKey | None = None,
) -> x509.CertificateBuilder:
    signer = (issuer_key or key).public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: PrivateKey, issuer: Credential) -> Credential:
    cert = builder.sign(issuer.key, _digest(issuer.key))
    return Credential(cert=cert, key=key, chain=(issuer.cert, *issuer.chain))


def _digest(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _usage(**true: bool) -> x509.KeyUsage:
    asked = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**(asked | true))


def _general_name(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)
