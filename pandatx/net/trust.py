"""The CA certificates and revocation lists of a site, as grid sites keep them: a directory, or one file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import crypto
from twisted.logger import Logger

log = Logger()

GRACE = timedelta(hours=1)
NEVER = datetime.max.replace(tzinfo=UTC) - GRACE
_CRL_BEGIN = b"-----BEGIN X509 CRL-----"


@frozen
class Trust:
    """What client certificates are judged by."""

    authorities: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]

    def fill(self, store: crypto.X509Store) -> None:
        """Make a context's store verify by this, proxies (RFC 3820) included.

        CRL_CHECK and CRL_CHECK_ALL go together: with the first alone the proxy of a revoked user passes.
        """
        for authority in self.authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        flags = crypto.X509StoreFlags.ALLOW_PROXY_CERTS
        if self.crls:
            for crl in self.crls:
                store.add_crl(crl)
            flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
        store.set_flags(flags)

    def is_stale(self, issuer: x509.Name, now: datetime) -> bool:
        """Whether the newest list of a CA ran out more than an hour ago (rule R13)."""
        ends = [crl.next_update_utc or NEVER for crl in self.crls if crl.issuer == issuer]
        return bool(ends) and max(ends) + GRACE < now


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


def stamp(places: list[Path | None]) -> tuple[tuple[str, int, int], ...]:
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
