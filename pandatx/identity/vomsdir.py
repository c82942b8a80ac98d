"""Which signers a site lets speak for which VO: the folder vomsdir, one sub-folder per VO with its .lsc files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from attrs import Factory, frozen
from cryptography import x509
from twisted.logger import Logger

from pandatx.identity import names

log = Logger()

VO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{,254}")
_NEXT_CHAIN = re.compile(r"-+ *NEXT CHAIN *-+")
_SAME_KIND = {"email": "emailaddress", "e": "emailaddress", "userid": "uid", "s": "st"}
_LARGEST = 1 << 20
_Read = TypeVar("_Read")

Chain = tuple[tuple[tuple[str, str], ...], ...]


@frozen(kw_only=True)
class VO:
    """A VO's signers. ``chains``: DNs from a signer towards its root, as .lsc files list them. ``hosts``: certificates
    of signers, as the older layout keeps them."""

    chains: tuple[Chain, ...] = ()
    hosts: tuple[x509.Certificate, ...] = ()


@frozen
class VomsDir:
    """All VOs that this site knows; what each file says of its VO, and what could not be read and why."""

    vos: Mapping[str, VO] = Factory(dict)
    files: Mapping[Path, VO] = Factory(dict)
    faults: Mapping[Path, str] = Factory(dict)


def dn_key(dn: str) -> tuple[tuple[str, str], ...]:
    """What two spellings of a DN have in common: the kinds of its RDNs go by several names."""
    parts = (part.partition("=") for part in names.rdns(dn))
    return tuple((_SAME_KIND.get(kind.lower(), kind.lower()), value) for kind, _, value in parts)


def read_vomsdir(place: Path | None, before: VomsDir | None = None) -> VomsDir:
    """Read the folder; one that is not there knows no VO. What cannot be read is one warning, and as it was
    ``before``."""
    reading = _Reading(before or VomsDir())
    if place is not None:
        for folder in reading.attempt(place, _folders) or ():
            for path in reading.attempt(folder, _files) or ():
                if (said := reading.attempt(path, _read_file)) is not None:
                    reading.files[path] = said
        for path in _listed(place, _files):
            reading.attempt(path, _misplaced)
    vos: dict[str, VO] = {}
    for path, said in reading.files.items():
        known = vos.get(path.parent.name, VO())
        vos[path.parent.name] = VO(chains=known.chains + said.chains, hosts=known.hosts + said.hosts)
    return VomsDir(vos, reading.files, reading.faults)


@frozen
class _Reading:
    """What is read, beside what was read before."""

    _before: VomsDir
    files: dict[Path, VO] = Factory(dict)
    faults: dict[Path, str] = Factory(dict)

    def attempt(self, path: Path, read: Callable[[Path], _Read]) -> _Read | None:
        """Read this; where it cannot be read, what it said before, or all in it, holds. A fault is told once."""
        try:
            return read(path)
        except (OSError, *names.UNREADABLE) as fault:
            former = {each: said for each, said in self._before.files.items() if path in (each, *each.parents)}
            self.files.update(former)
            self.faults[path] = str(fault)
            if self._before.faults.get(path) != str(fault):
                what = "is as it was before" if former else "is left out of the VOs' signers"
                log.warn("{path} {what}: {fault}", path=str(path), what=what, fault=str(fault))
            return None


def places(place: Path | None) -> list[Path]:
    """The files that are read, whose change means that they are to be read again."""
    folders = [] if place is None else _listed(place, _folders)
    return [path for folder in folders for path in _listed(folder, _files)]


def _listed(place: Path, listing: Callable[[Path], list[Path]]) -> list[Path]:
    try:
        return listing(place)
    except OSError:
        return []


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if VO_NAME.fullmatch(path.name) and path.is_dir())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".lsc", ".pem"))


def _read_file(path: Path) -> VO:
    if path.suffix == ".lsc":
        return VO(chains=tuple(_chains(_text(path))))
    return VO(hosts=tuple(x509.load_pem_x509_certificates(path.read_bytes())))


def _misplaced(path: Path) -> None:
    raise ValueError("it belongs in the folder of its VO")


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
            chain.append(dn_key(names.escaped(word)))
        elif word and not word.startswith("#"):
            raise ValueError(f"{word[:60]!r} is no DN")
