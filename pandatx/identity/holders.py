"""Who is behind a chain of certificates that OpenSSL has verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from attrs import frozen
from cryptography import x509

from pandatx.identity import names, proxies

ENDED = "the certificate or proxy has expired"
LONGEST_NAME = 1000
LONG = f"a name in the certificates has more than {LONGEST_NAME} characters"
NAMELESS = "the certificate has no subject, so that nobody is named by it"
NO_RIGHTS = "the policy of the proxy gives it no rights of its issuer, or none that are known here"


@frozen
class Holder:
    """The end entity of a chain: its certificate and DN, whether a limited proxy speaks for it, and when the chain
    ends."""

    cert: x509.Certificate
    dn: str
    limited: bool
    until: datetime


class NoHolder(Exception):
    """Nobody is behind a chain, and why."""


def holder(chain: Sequence[x509.Certificate], now: datetime) -> Holder:
    """The first certificate, leaf first, that is not a proxy. Raises NoHolder, and UNREADABLE for what is none."""
    if not chain:
        raise NoHolder("")
    limited = False
    until: datetime | None = None
    for at, cert in enumerate(chain):
        until = min(until or cert.not_valid_after_utc, cert.not_valid_after_utc)
        if until <= now:
            raise NoHolder(ENDED)
        info = proxies.proxy_info(cert)
        if info is None:
            if at + 1 < len(chain) and not _is_authority(chain[at + 1]):
                raise NoHolder("the certificate was issued by one that is no CA")
            if not (dn := _name(cert)):
                raise NoHolder(NAMELESS)
            return Holder(cert=cert, dn=dn, limited=limited, until=until)
        if not proxies.speaks_for_its_issuer(info):
            raise NoHolder(NO_RIGHTS)
        limited = limited or proxies.is_limited(cert, info)
    raise NoHolder("the chain has proxies only")


def _is_authority(cert: x509.Certificate) -> bool:
    """OpenSSL has looked at it already, and old roots have no such extension: only one that says no is none."""
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return cert.issuer == cert.subject
    except names.UNREADABLE:
        return False


def _name(cert: x509.Certificate) -> str:
    """Names of proxies are what their makers like, and they are remembered."""
    dn = names.slash_dn(cert)
    if len(dn) > LONGEST_NAME:
        raise NoHolder(LONG)
    return dn


def credentials(chain: Sequence[x509.Certificate], found: Holder) -> Iterator[str]:
    """The user and each proxy in the words of mod_gridsite's GRST_CRED_<n>, with their times and how many proxies stand
    below. Raises NoHolder, and UNREADABLE."""
    own = chain[: chain.index(found.cert) + 1]
    for below, cert in reversed(list(enumerate(own))):
        kind = "X509USER" if cert is found.cert else "GSIPROXY"
        start, end = cert.not_valid_before_utc, cert.not_valid_after_utc
        dn = found.dn if cert is found.cert else _name(cert)
        yield f"{kind} {start.timestamp():.0f} {end.timestamp():.0f} {below} {dn}"
