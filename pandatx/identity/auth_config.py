"""The clients of token issuers, one file each, and whom a VO lets in (reference/wire.md 1.5.3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import Factory, field, frozen

SUFFIX: Final = "_auth_config.json"
LARGEST: Final = 1 << 20
"""Bytes of a file that are read."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_MEMBER: Final = "user"

MayBeAsked = Callable[[str], bool]


@frozen(kw_only=True)
class Client:
    """One file, for a VO or for a role of it. Its issuer speaks for ``vo`` and for ``also``, the VO that it names.

    ``url`` is where the issuer's discovery document is. ``audience`` is what the device flow asks for.
    """

    vo: str
    role: str | None = None
    also: str | None = None
    ids: frozenset[str]
    url: str
    audience: str | None = None
    robot_ids: frozenset[str] = frozenset()
    wlcg: bool = False
    auto_roles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """VO or VO.role, whichever way the file spells it."""
        return self.vo if self.role is None else f"{self.vo}.{self.role}"

    def speaks_for(self, vo: str) -> bool:
        """Whether its issuer decides who is a member of this VO."""
        return vo in (self.vo, self.also)


@frozen(kw_only=True)
class Policy:
    """Members of the issuer's group ``member`` are let in, as ``group`` and ``role``."""

    member: str
    group: str
    role: str


@frozen
class AuthConfig:
    """All clients and policies, and what is wrong with the files that are left out, one line each."""

    clients: tuple[Client, ...] = ()
    policies: Mapping[str, tuple[Policy, ...]] = Factory(dict)
    faults: tuple[str, ...] = ()
    _by_name: Mapping[str, Client] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {client.name: client for client in self.clients})

    def named(self, name: str) -> Client | None:
        """The client of a VO or VO.role."""
        return self._by_name.get(name)

    def with_id(self, client_id: str) -> tuple[Client, ...]:
        """Those that have this client id."""
        return tuple(client for client in self.clients if client_id in client.ids)

    @property
    def urls(self) -> tuple[str, ...]:
        """The discovery documents, each once."""
        return tuple(dict.fromkeys(client.url for client in self.clients))


def split_name(name: str) -> tuple[str, str | None]:
    """VO and role of an Origin or of a file's name: ``vo:role``, ``vo.role`` or ``vo``; ``vo.x.y`` is a VO whole."""
    if ":" in name:
        vo, role = name.split(":", 1)
    elif name.startswith("vo.") or "." not in name:
        return name, None
    else:
        vo, _, role = name.rpartition(".")
    return vo, role or None


def asked_over_tls(plain: Iterable[str] = ()) -> MayBeAsked:
    """Whether a URL is one that an issuer may have: https, or http on a loopback host or on one of ``plain``."""
    hosts = frozenset((*_LOOPBACK, *plain))

    def may_be_asked(url: str) -> bool:
        try:
            parts = urlsplit(url)
            return bool(parts.hostname) and (
                parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in hosts)
            )
        except ValueError:
            return False

    return may_be_asked


def read_auth_config(folder: Path, policies: Path | None, may_be_asked: MayBeAsked) -> AuthConfig:
    """Read the folder, and ``policies`` if such a file is named, else policies follow from the names of the files.

    A file that cannot be read is named in ``faults`` and stops nothing but itself.
    """
    found: dict[str, Client] = {}
    faults: list[str] = []
    for path in _files(folder, faults):
        try:
            client = parse_client(path.name.removesuffix(SUFFIX), _content(path), may_be_asked)
        except (OSError, ValueError) as fault:
            faults.append(f"{path} is not used: {_why(fault)}")
            continue
        if client.name in found:
            faults.append(f"{path} is not used: another file is for {client.name}, too")
        else:
            found[client.name] = client
    if policies is None:
        granted = _derived(found.values())
    else:
        granted, wrong = _read_policies(policies)
        faults += wrong
    return AuthConfig(tuple(found.values()), granted, tuple(faults))


def _files(folder: Path, faults: list[str]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX) and path.name != SUFFIX)
    except OSError as fault:
        faults.append(f"no client of a token issuer is known: {folder}: {_why(fault)}")
        return []


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError("it is larger than 1 MiB")
    return content


def parse_client(name: str, content: bytes, may_be_asked: MayBeAsked) -> Client:
    """Read one file. Raises ValueError, whose text carries no secret."""
    entry = _object(content)
    vo, role = split_name(name)
    url = _text(entry, "oidc_config_url")
    if not may_be_asked(url):
        raise ValueError("oidc_config_url is no https:// address")
    also = entry.get("vo")
    audience = entry.get("audience")
    robots = _words(entry, "robot_ids")
    return Client(
        vo=vo,
        role=role,
        also=split_name(also)[0] if isinstance(also, str) and also else None,
        ids=frozenset((_text(entry, "client_id"), *_words(entry, "secondary_ids"), *robots)),
        url=url,
        audience=audience if isinstance(audience, str) and audience else None,
        robot_ids=frozenset(robots),
        wlcg=entry.get("jwt_profile") == "wlcg",
        auto_roles=_words(entry, "auto_roles"),
    )


def _object(content: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(entry, dict):
        raise ValueError("it is not a JSON object")
    return entry


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is missing or no text")
    return value


def _words(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts, or one text with commas."""
    value = entry.get(key) or ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} is no list of texts")
    return tuple(item.strip() for item in value if item.strip())


def _derived(clients: Iterable[Client]) -> dict[str, tuple[Policy, ...]]:
    """Who is in the VO's own group is let in."""
    granted: dict[str, tuple[Policy, ...]] = {}
    for client in clients:
        role = client.role or _MEMBER
        granted[client.vo] = (*granted.get(client.vo, ()), Policy(member=client.vo, group=role, role=role))
    return granted


def _read_policies(path: Path) -> tuple[dict[str, tuple[Policy, ...]], list[str]]:
    """The older file: VO to pairs of a group and what its members are. What cannot be read lets nobody in."""
    granted: dict[str, tuple[Policy, ...]] = {}
    faults: list[str] = []
    try:
        document = _object(_content(path))
    except (OSError, ValueError) as fault:
        return {}, [f"{path} is not used, so that no token is taken: {_why(fault)}"]
    for vo, pairs in document.items():
        try:
            granted[vo] = tuple(_policies(pairs))
        except (ValueError, TypeError):
            faults.append(f"{path}: no token of {vo[:100]!r} is taken: it has no list of [group, {{role, group}}]")
    return granted, faults


def _policies(pairs: Any) -> Iterator[Policy]:
    if not isinstance(pairs, list):
        raise ValueError
    for member, info in pairs:
        if not isinstance(member, str) or not member or not isinstance(info, dict):
            raise ValueError
        role, group = info.get("role", _MEMBER), info.get("group", _MEMBER)
        if not isinstance(role, str) or not isinstance(group, str):
            raise ValueError
        yield Policy(member=member, group=group, role=role)


def _why(fault: Exception) -> str:
    return (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault)
