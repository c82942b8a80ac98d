"""What a caller may be: roles by the site's lists of names, and by FQANs of a VO (rules R27, R28)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from attrs import frozen

from pandatx.identity import names

_PRODUCTION = re.compile(r"/(?:[^/]+|atlas/usatlas)/Role=production(?:/|$)")
_PILOT = re.compile(r"/(?:[^/]+|atlas/usatlas|Engage/LBNE)/Role=pilot(?:/|$)")
_GROUP = re.compile(r"/([^/]+)/([^/]+)/Role=production(?:/|$)")
_RUN_OF_RDNS = re.compile(r"/?[A-Za-z0-9.]+=[^/]")
_ONLY_IN_PATTERNS = re.compile(r"[\\^$*\[\]|]")


class IdentityLists(Protocol):
    """What of the identity settings grants roles."""

    @property
    def production_dns(self) -> tuple[str, ...]: ...

    @property
    def pilot_owners(self) -> tuple[str, ...]: ...

    @property
    def loose_dn_match(self) -> bool: ...

    @property
    def vo_members_are_pilots(self) -> tuple[str, ...]: ...


def matches(entry: str, dn: str, name: str) -> bool:
    """Whether an entry of production_dns or pilot_owners means this holder: the whole compact name, the whole DN,
    or a run of whole RDNs of it."""
    if entry in (name, dn):
        return bool(entry)
    if not _RUN_OF_RDNS.match(entry):
        return False
    run = names.rdns(entry if entry.startswith("/") else "/" + entry)
    whole = names.rdns(dn)
    return any(whole[at : at + len(run)] == run for at in range(len(whole) - len(run) + 1))


def matches_loosely(entry: str, dn: str) -> bool:
    """The older reading: the entry stands anywhere in the DN, as it is or as a regular expression."""
    if not entry:
        return False
    if entry in dn:
        return True
    try:
        return re.search(entry, dn) is not None
    except re.error:
        return False


def loose_entries(entries: Iterable[str], known_dns: Iterable[str] = ()) -> tuple[str, ...]:
    """The entries that can match, or that do match one of the known DNs, by the older reading only.

    They are named at start, and mean nobody unless ``loose_dn_match`` is set (rule R27).
    """
    known = tuple((dn, names.compact_name(dn)) for dn in known_dns)
    return tuple(entry for entry in entries if _reads_as_pattern(entry) or _only_loosely(entry, known))


def _reads_as_pattern(entry: str) -> bool:
    if _ONLY_IN_PATTERNS.search(entry.replace("\\x", "")):
        return True
    return entry.startswith("/") and not _RUN_OF_RDNS.match(entry)


def _only_loosely(entry: str, known: tuple[tuple[str, str], ...]) -> bool:
    if any(matches(entry, dn, name) for dn, name in known):
        return False
    return any(matches_loosely(entry, dn) for dn, _ in known)


@frozen(kw_only=True)
class Granted:
    """The roles of one holder. ``loosely`` names the entries that matched by the older reading but do not count.
    ``by_name``: the production role comes from an entry that is the compact name, and from nothing else."""

    production: bool = False
    pilot: bool = False
    working_groups: tuple[str, ...] = ()
    loosely: tuple[str, ...] = ()
    by_name: bool = False


@frozen
class Roles:
    """Decides roles by the site's lists and the FQANs."""

    _lists: IdentityLists

    def of_certificate(self, dn: str, name: str, fqans: tuple[str, ...] = ()) -> Granted:
        """Roles of a certificate's holder; ``fqans`` must have been verified."""
        production, loose = self._listed(self._lists.production_dns, dn, name)
        owner, loose_owner = self._listed(self._lists.pilot_owners, dn, name)
        by_vo = self.of_fqans(fqans)
        return Granted(
            production=production or by_vo.production,
            pilot=production or owner or by_vo.pilot,
            working_groups=by_vo.working_groups,
            loosely=tuple(dict.fromkeys(loose + loose_owner)),
            by_name=self._by_name(self._lists.production_dns, dn, name) and not by_vo.production,
        )

    def of_fqans(self, fqans: tuple[str, ...]) -> Granted:
        """Roles by FQANs alone: all that a token can have, whatever its display name is."""
        production = any(_PRODUCTION.match(fqan) for fqan in fqans)
        members = tuple(f"/{vo.strip('/')}/" for vo in self._lists.vo_members_are_pilots)
        pilot = production or any(_PILOT.match(fqan) or f"{fqan}/".startswith(members) for fqan in fqans)
        return Granted(production=production, pilot=pilot, working_groups=working_groups(fqans))

    def _by_name(self, entries: tuple[str, ...], dn: str, name: str) -> bool:
        return name in entries and not any(entry != name and matches(entry, dn, name) for entry in entries)

    def _listed(self, entries: tuple[str, ...], dn: str, name: str) -> tuple[bool, tuple[str, ...]]:
        if any(matches(entry, dn, name) for entry in entries):
            return True, ()
        loose = tuple(entry for entry in entries if matches_loosely(entry, dn))
        if self._lists.loose_dn_match:
            return bool(loose), ()
        return False, loose


def working_groups(fqans: Iterable[str]) -> tuple[str, ...]:
    """The working groups in which these FQANs let their holder produce (reference/wire.md 1.5.4)."""
    found: dict[str, None] = {}
    for fqan in fqans:
        if not (group := _GROUP.match(fqan)):
            continue
        vo, name = group.groups()
        if vo == "atlas" and name == "usatlas":
            continue
        if vo == "atlas":
            found.update({name: None, f"gr_{name}": None})
        found[name.rsplit("-", 1)[-1].lower()] = None
    return tuple(found)
