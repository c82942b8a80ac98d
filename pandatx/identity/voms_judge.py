"""Whether VOMS attributes are to be believed: who signed them, for whom, and until when (rules R13, R27)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from attrs import Factory, define, field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ObjectIdentifier, SignatureAlgorithmOID
from OpenSSL import crypto

from pandatx.identity import names
from pandatx.identity.trust import NEVER, Trust
from pandatx.identity.voms import AttributeCertificate, Unreadable, name_key, read
from pandatx.identity.vomsdir import VomsDir, dn_key

LEEWAY = timedelta(minutes=5)
"""By how much clocks may differ; libvoms takes the same."""
SMALLEST_RSA_KEY = 2048
LONGEST_FAULT = 300

_RSA: dict[ObjectIdentifier, hashes.HashAlgorithm] = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512(),
    SignatureAlgorithmOID.RSA_WITH_SHA1: hashes.SHA1(),
}
_EC: dict[ObjectIdentifier, hashes.HashAlgorithm] = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: hashes.SHA512(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: hashes.SHA1(),
}
_OLD_HASHES = ("md5", "sha1")


class NotBelieved(Exception):
    """Why attributes grant nothing, in words for their holder."""


@frozen(kw_only=True)
class Granted:
    """Attributes to be believed until a time."""

    fqans: tuple[str, ...]
    start: datetime
    end: datetime
    until: datetime


@frozen(kw_only=True)
class Verdict:
    """On all attributes of a proxy: what is granted, and why the rest is not."""

    granted: tuple[Granted, ...] = ()
    faults: tuple[str, ...] = ()


@define(eq=False)
class Judge:
    """Judges by one reading of the CA directory and of vomsdir. It may be asked from several threads."""

    _trust: Trust = Factory(Trust)
    _vomsdir: VomsDir = Factory(VomsDir)
    _sha1: bool = False
    _store: Any = field(init=False)
    _lock: Lock = field(factory=Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._store = crypto.X509Store()
        self._trust.add_authorities(self._store)

    def verdict(self, extension: bytes, holder: x509.Certificate, now: datetime) -> Verdict:
        """On the value of a VOMS extension in the chain of ``holder``, the end entity."""
        try:
            found = read(extension)
        except Unreadable as fault:
            return Verdict(faults=(f"the VOMS extension cannot be read: {fault}",))
        granted, faults = [], []
        for each in found:
            try:
                if isinstance(each, Unreadable):
                    raise NotBelieved(str(each))
                granted.append(self._granted(each, holder, now))
            except NotBelieved as fault:
                faults.append(f"the VOMS attributes are not accepted: {fault}"[:LONGEST_FAULT])
            except names.UNREADABLE as fault:
                faults.append(f"the certificates around the VOMS attributes cannot be read: {type(fault).__name__}")
        return Verdict(granted=tuple(granted), faults=tuple(faults))

    def _granted(self, said: AttributeCertificate, holder: x509.Certificate, now: datetime) -> Granted:
        # VOMS servers in C write the holder's own name where RFC 5755 has that of the CA; libvoms takes both.
        names_of_holder = (name_key(holder.issuer), name_key(holder.subject))
        if said.holder_serial != holder.serial_number or said.holder_name not in names_of_holder:
            raise NotBelieved("they were issued to another certificate")
        if now + LEEWAY < said.start:
            raise NotBelieved("they are not valid yet")
        end = min(said.end, NEVER) + LEEWAY
        if end <= now:
            raise NotBelieved("they have expired")
        if said.targets:
            raise NotBelieved("they are meant for certain services only")
        if said.critical:
            raise NotBelieved(f"their critical extension {min(said.critical)} is not known here")
        if any(f"{fqan}/".split("/")[1] != said.vo for fqan in said.fqans):
            raise NotBelieved(f"the VO {said.vo} cannot speak for another")
        path = self._path_of_signer(said, now)
        standing = self._trust.standing(path, now)
        if standing.revoked:
            raise NotBelieved(f"the certificate of {standing.revoked} is revoked")
        if standing.stale:
            raise NotBelieved(f"a revocation list for their signer {names.slash_dn(path[0])} is too old")
        ends = [end, *(cert.not_valid_after_utc for cert in path)]
        until = min(ends if standing.until is None else [*ends, standing.until])
        return Granted(fqans=said.fqans, start=said.start, end=said.end, until=until)

    def _path_of_signer(self, said: AttributeCertificate, now: datetime) -> Sequence[x509.Certificate]:
        """The signer's certificate and those above it, if it is one that the VO's folder names."""
        vo = self._vomsdir.vos.get(said.vo)
        if vo is None or not (vo.chains or vo.hosts):
            raise NotBelieved(f"the VO {said.vo} has no signer in vomsdir")
        why = "the certificate of their signer is missing"
        for signer in (*said.signers[:1], *vo.hosts):
            try:
                if name_key(signer.subject) != said.issuer:
                    continue
                self._check_signature(said, signer)
                path = self._path(signer, said.signers[1:], now)
                dns = tuple(dn_key(names.slash_dn(cert)) for cert in path)
            except NotBelieved as fault:
                why = str(fault)
                continue
            except (*names.UNREADABLE, crypto.Error):
                why = "the certificate of their signer cannot be read"
                continue
            if signer in vo.hosts or any(dns[: len(chain)] == chain for chain in vo.chains):
                return path
            why = f"their signer {names.slash_dn(signer)} is none of those of the VO {said.vo} in vomsdir"
        raise NotBelieved(why)

    def _check_signature(self, said: AttributeCertificate, signer: x509.Certificate) -> None:
        key, algorithm = signer.public_key(), said.algorithm
        of_rsa, of_ec = _RSA.get(algorithm), _EC.get(algorithm)
        if isinstance((digest := of_rsa or of_ec), hashes.SHA1) and not self._sha1:
            raise NotBelieved("they are signed with SHA-1, which is not taken any more")
        if digest is None:
            raise NotBelieved(f"the algorithm of their signature, {algorithm.dotted_string}, is not taken")
        try:
            if isinstance(key, rsa.RSAPublicKey) and of_rsa is not None:
                if key.key_size < SMALLEST_RSA_KEY:
                    raise NotBelieved("the key of their signer is too short")
                key.verify(said.signature, said.signed, padding.PKCS1v15(), of_rsa)
            elif isinstance(key, ec.EllipticCurvePublicKey) and of_ec is not None:
                key.verify(said.signature, said.signed, ec.ECDSA(of_ec))
            else:
                raise NotBelieved("their signature is not of the kind of their signer's key")
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            raise NotBelieved("their signature is wrong") from None

    def _path(
        self, signer: x509.Certificate, between: Sequence[x509.Certificate], now: datetime
    ) -> Sequence[x509.Certificate]:
        """From a signer to a CA of the CA directory. OpenSSL looks at all but revocation, which needs its own rules."""
        with self._lock:
            self._store.set_time(now)
            context = crypto.X509StoreContext(
                self._store,
                crypto.X509.from_cryptography(signer),
                [crypto.X509.from_cryptography(cert) for cert in between],
            )
            try:
                path = [cert.to_cryptography() for cert in context.get_verified_chain()]
            except crypto.X509StoreContextError as fault:
                raise NotBelieved(f"the certificate of their signer is not accepted: {fault}") from None
        if any(weak in _hash_name(cert) for cert in path[:-1] for weak in self._weak()):
            raise NotBelieved("the certificate of their signer is signed with a hash that is not taken any more")
        return path

    def _weak(self) -> Iterator[str]:
        return (name for name in _OLD_HASHES if not (self._sha1 and name == "sha1"))


def _hash_name(cert: x509.Certificate) -> str:
    try:
        digest = cert.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "md5"
    return "" if digest is None else digest.name
