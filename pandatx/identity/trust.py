"""The CA certificates and revocation lists of a site, as grid sites keep them: a directory, or one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from errno import ENOENT
from itertools import pairwise
from pathlib import Path

from attrs import Factory, field, frozen
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


@frozen(kw_only=True)
class File:
    """What one file says."""

    authorities: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()


@frozen
class _List:
    """Whom a revocation list revokes, and until when it says so."""

    revoked: frozenset[int]
    end: datetime


@frozen(eq=False)
class Trust:
    """What client certificates and the signers of VOMS attributes are judged by.

    ``files``: what stands where; ``held``: lists, by fingerprint, that could not be read again, and since when.
    """

    authorities: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    files: Mapping[str, File] = Factory(dict)
    held: Mapping[bytes, datetime] = Factory(dict)
    _named: dict[bytes, list[x509.CertificateRevocationList]] = field(factory=dict, init=False)
    _lists: dict[bytes, _List | None] = field(factory=dict, init=False)

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
        whose newest list ran out, or could be read for the last time, more than an hour ago may have revoked anybody
        (rule R13)."""
        stale, until = False, None
        for cert, issuer in pairwise(chain):
            said = self._list_of(issuer)
            if said is None:
                continue
            if cert.serial_number in said.revoked:
                return Standing(revoked=slash_dn(cert))
            stale = stale or said.end < now
            until = until if said.end < now else min(until or said.end, said.end)
        return Standing(stale=stale, until=until)

    def _list_of(self, issuer: x509.Certificate) -> _List | None:
        """What the newest list says that a CA has signed."""
        named = self._named.get(issuer.subject.public_bytes())
        if named is None:
            return None
        key = issuer.fingerprint(hashes.SHA256())
        if key not in self._lists:
            own = [crl for crl in named if _signed_by(crl, issuer)]
            newest = max(own, key=lambda crl: crl.last_update_utc, default=None)
            self._lists[key] = None if newest is None else self._read(newest)
        return self._lists[key]

    def _read(self, crl: x509.CertificateRevocationList) -> _List:
        """Serial numbers in a set: cryptography goes through the whole list, milliseconds for a large CA's."""
        end = min(crl.next_update_utc or NEVER, self.held.get(_print_of(crl), NEVER)) + GRACE
        return _List(frozenset(entry.serial_number for entry in crl), end)


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False


def read_trust(place: Path | None, before: Trust | None = None, now: datetime | None = None) -> Trust:
    """Read ``place``: a file of certificates, or a directory with *.pem, *.crt, *.0 and with *.r0, *.crl.

    A file that cannot be read or parsed is one warning, so that one bad CA does not stop a site; what it said
    ``before`` holds, and all of it where the place itself cannot be read. OSError only when there is no such earlier
    reading.
    """
    before, now = before or Trust(), now or datetime.now(UTC)
    try:
        paths = _files(place)
        if before.files and not any(path.exists() for path in paths):
            raise FileNotFoundError(ENOENT, "nothing is there")
    except OSError as fault:
        if not before.files:
            raise
        log.warn("{path} cannot be read, what it said before holds: {fault}", path=str(place), fault=fault.strerror)
        return _trust(before.files, {crl: before.held.get(crl, now) for crl in map(_print_of, before.crls)})
    files: dict[str, File] = {}
    held: dict[bytes, datetime] = {}
    for path in paths:
        try:
            files[str(path)] = _read_file(path)
        except (OSError, ValueError) as fault:
            old = before.files.get(str(path))
            what = "is left out of the trusted authorities" if old is None else "is as it was before"
            log.warn("{path} {what}: {fault}", path=str(path), what=what, fault=str(fault))
            if old is not None:
                files[str(path)] = old
                held |= {crl: before.held.get(crl, now) for crl in map(_print_of, old.crls)}
    return _trust(files, held)


def _trust(files: Mapping[str, File], held: Mapping[bytes, datetime]) -> Trust:
    authorities = {cert.fingerprint(hashes.SHA256()): cert for file in files.values() for cert in file.authorities}
    crls = {_print_of(crl): crl for file in files.values() for crl in file.crls}
    return Trust(tuple(authorities.values()), tuple(crls.values()), files, held)


def _print_of(crl: x509.CertificateRevocationList) -> bytes:
    return crl.fingerprint(hashes.SHA256())


def _read_file(path: Path) -> File:
    data = path.read_bytes()
    if _is_crl(path, data):
        return File(crls=(_load_crl(data),))
    return File(authorities=tuple(x509.load_pem_x509_certificates(data)))


def stamp(places: Sequence[Path | None]) -> tuple[tuple[str, int, int], ...]:
    """What changes when any of the files does; cheap to compare with an earlier one."""
    found = []
    for place in places:
        try:
            paths = _files(place)
        except OSError:
            found.append((str(place), 0, -1))
            continue
        for path in paths:
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
