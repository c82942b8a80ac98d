"""Which signers a site lets speak for which VO: the folder vomsdir, one sub-folder per VO with its .lsc files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import Factory, frozen
from cryptography import x509
from twisted.logger import Logger

from pandatx.identity import names

log = Logger()

VO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{,254}")
_NEXT_CHAIN = re.compile(r"-+ *NEXT CHAIN *-+")
_SAME_KIND = {"email": "emailaddress", "e": "emailaddress", "userid": "uid", "s": "st"}
_LARGEST = 1 << 20

Chain = tuple[tuple[tuple[str, str], ...], ...]


@frozen(kw_only=True)
class VO:
    """A VO's signers. ``chains``: DNs from a signer towards its root, as .lsc files list them. ``hosts``: certificates
    of signers, as the older layout keeps them."""

    chains: tuple[Chain, ...] = ()
    hosts: tuple[x509.Certificate, ...] = ()


@frozen
class VomsDir:
    """All VOs that this site knows."""

    vos: Mapping[str, VO] = Factory(dict)


def dn_key(dn: str) -> tuple[tuple[str, str], ...]:
    """What two spellings of a DN have in common: the kinds of its RDNs go by several names."""
    parts = (part.partition("=") for part in names.rdns(dn))
    return tuple((_SAME_KIND.get(kind.lower(), kind.lower()), value) for kind, _, value in parts)


def read_vomsdir(place: Path | None) -> VomsDir:
    """Read the folder; one that is not there knows no VO. What cannot be read is one warning and left out."""
    vos = {}
    for folder in _folders(place):
        chains: list[Chain] = []
        hosts: list[x509.Certificate] = []
        for path in _files(folder):
            try:
                if path.suffix == ".lsc":
                    chains += list(_chains(_text(path)))
                else:
                    hosts += x509.load_pem_x509_certificates(path.read_bytes())
            except (OSError, ValueError) as fault:
                log.warn("{path} is left out of the VOs' signers: {fault}", path=str(path), fault=str(fault))
        vos[folder.name] = VO(chains=tuple(chains), hosts=tuple(hosts))
    for path in _files(place) if place is not None and place.is_dir() else ():
        log.warn("{path} is left out of the VOs' signers: it belongs in the folder of its VO", path=str(path))
    return VomsDir(vos)


def places(place: Path | None) -> list[Path]:
    """The files that are read, whose change means that they are to be read again."""
    return [path for folder in _folders(place) for path in _files(folder)]


def _folders(place: Path | None) -> list[Path]:
    if place is None or not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if VO_NAME.fullmatch(path.name) and path.is_dir())


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in (".lsc", ".pem"))
    except OSError as fault:
        log.warn("{path} cannot be read: {fault}", path=str(folder), fault=fault.strerror)
        return []


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError("too large")
    return data.decode("utf-8")


def _chains(text: str) -> Iterator[Chain]:
    """Chains of DNs, one DN a line, nearest to the signer first, with lines of dashes between chains."""
    chain: list[tuple[tuple[str, str], ...]] = []
    for line in (*text.splitlines(), "-- NEXT CHAIN --"):
        word = line.strip().strip('"')
        if _NEXT_CHAIN.fullmatch(word):
            if len(chain) == 1:
                raise ValueError("a chain needs the DN of the signer and that of its CA")
            if chain:
                yield tuple(chain)
            chain = []
        elif word.startswith("/"):
            chain.append(dn_key(names.printable(word)))
        elif word and not word.startswith("#"):
            raise ValueError(f"{word[:60]!r} is no DN")
