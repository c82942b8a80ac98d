"""The CA certificates and revocation lists of a site, as grid sites keep them: a directory, or one file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from OpenSSL import crypto
from twisted.logger import Logger

from pandatx.identity.names import slash_dn

log = Logger()

GRACE = timedelta(hours=1)
NEVER = datetime.max.replace(tzinfo=UTC) - GRACE
_CRL_BEGIN = b"-----BEGIN X509 CRL-----"


@frozen(kw_only=True)
class Standing:
    """What the revocation lists say of a chain. ``revoked`` names the certificate; ``stale``: a list is too old to say
    anything; ``until``: when the first of the lists becomes so."""

    revoked: str = ""
    stale: bool = False
    until: datetime | None = None


@frozen(eq=False)
class Trust:
    """What client certificates and the signers of VOMS attributes are judged by."""

    authorities: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    _named: dict[bytes, list[x509.CertificateRevocationList]] = field(factory=dict, init=False)
    _newest: dict[bytes, x509.CertificateRevocationList | None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for crl in self.crls:
            self._named.setdefault(crl.issuer.public_bytes(), []).append(crl)
        for authority in self.authorities:
            self._list_of(authority)

    def fill(self, store: crypto.X509Store) -> None:
        """Make a context's store verify by this, proxies (RFC 3820) included.

        CRL_CHECK and CRL_CHECK_ALL go together: with the first alone the proxy of a revoked user passes.
        """
        self.add_authorities(store)
        flags = crypto.X509StoreFlags.ALLOW_PROXY_CERTS
        if self.crls:
            for crl in self.crls:
                store.add_crl(crl)
            flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
        store.set_flags(flags)

    def add_authorities(self, store: crypto.X509Store) -> None:
        """Make a store trust the CAs, and look at nothing else."""
        for authority in self.authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))

    def standing(self, chain: Sequence[x509.Certificate], now: datetime) -> Standing:
        """What the lists say, now, of a chain that was verified up to its root. A CA without a list revokes nobody; one
        whose newest list ran out more than an hour ago may have revoked anybody (rule R13)."""
        stale, until = False, None
        for cert, issuer in pairwise(chain):
            crl = self._list_of(issuer)
            if crl is None:
                continue
            if crl.get_revoked_certificate_by_serial_number(cert.serial_number) is not None:
                return Standing(revoked=slash_dn(cert))
            end = (crl.next_update_utc or NEVER) + GRACE
            stale = stale or end < now
            until = until if end < now else min(until or end, end)
        return Standing(stale=stale, until=until)

    def _list_of(self, issuer: x509.Certificate) -> x509.CertificateRevocationList | None:
        """The newest list that a CA has signed."""
        named = self._named.get(issuer.subject.public_bytes())
        if named is None:
            return None
        key = issuer.fingerprint(hashes.SHA256())
        if key not in self._newest:
            own = [crl for crl in named if _signed_by(crl, issuer)]
            newest = max(own, key=lambda crl: crl.last_update_utc, default=None)
            if newest is not None:
                newest.get_revoked_certificate_by_serial_number(1)  # it makes its index of them now
            self._newest[key] = newest
        return self._newest[key]


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False


def read_trust(place: Path | None) -> Trust:
    """Read ``place``: a file of certificates, or a directory with *.pem, *.crt, *.0 and with *.r0, *.crl.

    A file that cannot be read or parsed is one warning and left out, so that one bad CA does not stop a site. OSError
    only when the place itself cannot be read.
    """
    authorities: dict[bytes, x509.Certificate] = {}
    crls: dict[bytes, x509.CertificateRevocationList] = {}
    for path in _files(place):
        try:
            data = path.read_bytes()
            if _is_crl(path, data):
                crl = _load_crl(data)
                crls[crl.fingerprint(hashes.SHA256())] = crl
            else:
                for cert in x509.load_pem_x509_certificates(data):
                    authorities[cert.fingerprint(hashes.SHA256())] = cert
        except (OSError, ValueError) as fault:
            log.warn("{path} is left out of the trusted authorities: {fault}", path=str(path), fault=str(fault))
    return Trust(tuple(authorities.values()), tuple(crls.values()))


def stamp(places: Sequence[Path | None]) -> tuple[tuple[str, int, int], ...]:
    """What changes when any of the files does; cheap to compare with an earlier one."""
    found = []
    for place in places:
        for path in _files(place) if place is not None and place.exists() else []:
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)


def _files(place: Path | None) -> list[Path]:
    if place is None:
        return []
    if not place.is_dir():
        return [place]
    return sorted(path for path in place.iterdir() if _is_named_like_trust(path.name))


def _is_named_like_trust(name: str) -> bool:
    suffix = name.rpartition(".")[2]
    return suffix in {"pem", "crt", "crl"} or suffix.isdigit() or (suffix[:1] == "r" and suffix[1:].isdigit())


def _is_crl(path: Path, data: bytes) -> bool:
    return _CRL_BEGIN in data or path.suffix == ".crl" or path.suffix[1:2] == "r"


def _load_crl(data: bytes) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(data) if _CRL_BEGIN in data else x509.load_der_x509_crl(data)
