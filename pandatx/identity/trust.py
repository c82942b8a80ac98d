"""The CA certificates and revocation lists of a site, as grid sites keep them: a directory, or one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from errno import ENOENT
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import Factory, define, field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from OpenSSL import crypto
from twisted.logger import Logger

from pandatx.identity.names import UNREADABLE, slash_dn

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


@define(eq=False)
class RevocationList:
    """A list, and what was found out about it: cryptography takes it apart or puts it together in one go, tens of
    milliseconds for a large CA's, in which no other thread runs. ``digest`` is that of the bytes of its file.
    """

    crl: x509.CertificateRevocationList
    digest: bytes = b""
    _revoked: frozenset[int] | None = None
    _signers: dict[bytes, bool] = Factory(dict)

    @property
    def revoked(self) -> frozenset[int]:
        """Serial numbers in a set: cryptography goes through the whole list each time."""
        if self._revoked is None:
            self._revoked = frozenset(entry.serial_number for entry in self.crl)
        return self._revoked

    def signed_by(self, issuer: x509.Certificate, key: bytes) -> bool:
        """Whether a CA, whose fingerprint is ``key``, has signed it."""
        if key not in self._signers:
            self._signers[key] = _signed_by(self.crl, issuer)
        return self._signers[key]


@frozen(kw_only=True, eq=False)
class File:
    """What one file says: authorities, or a list. ``digest`` is that of its bytes: they are not parsed twice."""

    authorities: tuple[x509.Certificate, ...] = ()
    listed: RevocationList | None = None
    digest: bytes = b""


@frozen
class _List:
    """Whom a revocation list revokes, and until when it says so."""

    revoked: frozenset[int]
    end: datetime


@frozen(eq=False)
class Trust:
    """What client certificates and the signers of VOMS attributes are judged by.

    ``files``: what stands where; ``held``: lists, by the digest of their file, that could not be read again, and since
    when; ``faults``: what could not be read, and why.
    """

    authorities: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    files: Mapping[str, File] = Factory(dict)
    held: Mapping[bytes, datetime] = Factory(dict)
    faults: Mapping[str, str] = Factory(dict)
    _roots: set[bytes] = field(factory=set, init=False)
    _named: dict[bytes, list[RevocationList]] = field(factory=dict, init=False)
    _lists: dict[bytes, _List | None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        read = {id(file.listed.crl): file.listed for file in self.files.values() if file.listed is not None}
        for crl in self.crls:
            listed = read.get(id(crl)) or RevocationList(crl)
            self._named.setdefault(crl.issuer.public_bytes(), []).append(listed)
        for authority in self.authorities:
            self._roots.add(authority.fingerprint(hashes.SHA256()))
            self._list_of(authority)

    def disowns(self, root: bytes) -> bool:
        """Whether the CA with this fingerprint is none of these; where there are none at all nobody was asked."""
        return bool(self._roots) and root not in self._roots

    def says_the_same(self, other: Trust) -> bool:
        """Whether it makes no difference by which of the two one judges."""
        mine, its = ((each.authorities, each.crls, each.held, each.faults) for each in (self, other))
        return mine == its

    def fill(self, store: crypto.X509Store) -> None:
        """Make a context's store verify by this, proxies (RFC 3820) included.

        CRL_CHECK and CRL_CHECK_ALL go together: with the first alone the proxy of a revoked user passes.
        """
        self.add_authorities(store)
        flags = crypto.X509StoreFlags.ALLOW_PROXY_CERTS
        if self.crls:
            for crl in self.crls:
                _add(store.add_crl, crl, crl.issuer)
            flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
        store.set_flags(flags)

    def add_authorities(self, store: crypto.X509Store) -> None:
        """Make a store trust the CAs, and look at nothing else."""
        for authority in self.authorities:
            _add(lambda cert: store.add_cert(crypto.X509.from_cryptography(cert)), authority, authority.subject)

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
        key = issuer.fingerprint(hashes.SHA256())
        if key not in self._lists:
            named = self._named.get(issuer.subject.public_bytes())
            if named is None and key not in self._roots:
                return None
            own = [listed for listed in named or () if listed.signed_by(issuer, key)]
            newest = max(own, key=lambda listed: listed.crl.last_update_utc, default=None)
            self._lists[key] = None if newest is None else self._read(newest)
        return self._lists[key]

    def _read(self, listed: RevocationList) -> _List:
        end = min(listed.crl.next_update_utc or NEVER, self.held.get(listed.digest, NEVER)) + GRACE
        return _List(listed.revoked, end)


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (*UNREADABLE, InvalidSignature):
        return False


def _add(add: Callable[[Any], None], what: Any, name: x509.Name) -> None:
    """Give OpenSSL something; what it refuses harms nothing else."""
    try:
        add(what)
    except (*UNREADABLE, crypto.Error) as fault:
        log.warn("OpenSSL does not take what {name} issued: {fault}", name=name.rfc4514_string(), fault=str(fault))


def read_trust(place: Path | None, before: Trust | None = None, now: datetime | None = None) -> Trust:
    """Read ``place``: a file of certificates, or a directory with *.pem, *.crt, *.0 and with *.r0, *.crl.

    A file that cannot be read or parsed is one warning, so that one bad CA does not stop a site; what it said
    ``before`` holds, and all of it where the place itself cannot be read. Where nothing has changed it is ``before``
    itself. OSError only when there is no such earlier reading.
    """
    before, now = before or Trust(), now or datetime.now(UTC)
    try:
        paths = _files(place)
        if before.files and not any(path.exists() for path in paths):
            raise FileNotFoundError(ENOENT, "nothing is there")
    except OSError as fault:
        if not before.files:
            raise
        faults = dict(before.faults) | {str(place): str(fault)}
        _tell(before, str(place), str(fault), "is as it was before")
        lists = [file.digest for file in before.files.values() if file.listed is not None]
        return _trust(before.files, {each: before.held.get(each, now) for each in lists}, faults, before)
    return _read_files(paths, before, now)


def _read_files(paths: Sequence[Path], before: Trust, now: datetime) -> Trust:
    files: dict[str, File] = {}
    held: dict[bytes, datetime] = {}
    faults: dict[str, str] = {}
    # Grid sites have each file under the names of two or three hashes.
    parsed = {file.digest: file for file in before.files.values()}
    for path in map(str, paths):
        try:
            files[path] = file = _read_file(Path(path), parsed)
            parsed[file.digest] = file
        except (OSError, *UNREADABLE) as fault:
            faults[path] = str(fault)
            old = before.files.get(path)
            what = "is left out of the trusted authorities" if old is None else "is as it was before"
            _tell(before, path, str(fault), what)
            if old is not None:
                files[path] = old
                if old.listed is not None:
                    held[old.digest] = before.held.get(old.digest, now)
    return _trust(files, held, faults, before)


def _tell(before: Trust, path: str, fault: str, what: str) -> None:
    """Once for each fault: what could not be read is tried again every minute."""
    if before.faults.get(path) != fault:
        log.warn("{path} cannot be read, it {what}: {fault}", path=path, what=what, fault=fault)


def _trust(
    files: Mapping[str, File], held: Mapping[bytes, datetime], faults: Mapping[str, str], before: Trust
) -> Trust:
    same = files.keys() == before.files.keys() and all(files[path] is before.files[path] for path in files)
    if same and held == before.held and faults == before.faults:
        return before
    distinct = {file.digest: file for file in files.values()}.values()
    authorities = {cert.fingerprint(hashes.SHA256()): cert for file in distinct for cert in file.authorities}
    crls = tuple(file.listed.crl for file in distinct if file.listed is not None)
    return Trust(tuple(authorities.values()), crls, files, held, faults)


def _read_file(path: Path, parsed: Mapping[bytes, File]) -> File:
    """What a file says. UNREADABLE for what is broken in a part that is needed of all, too."""
    data = path.read_bytes()
    digest = sha256(data).digest()
    if digest in parsed:
        return parsed[digest]
    if _is_crl(path, data):
        crl = _load_crl(data)
        _ = crl.issuer.public_bytes(), crl.last_update_utc, crl.next_update_utc
        return File(listed=RevocationList(crl, digest), digest=digest)
    authorities = tuple(x509.load_pem_x509_certificates(data))
    for cert in authorities:
        cert.subject.public_bytes()
    return File(authorities=authorities, digest=digest)


def stamp(places: Sequence[Path | None]) -> tuple[tuple[str, int, int], ...]:
    """What changes when any of the files does, or may be read at last; cheap to compare with an earlier one."""
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
            found.append((str(path), status.st_ctime_ns, status.st_size))
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
