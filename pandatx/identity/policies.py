"""What a verified token makes of its holder: VO, role, names and FQANs (reference/wire.md 1.5.3, steps 5 to 11)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from pandatx.errors import TokenRejected
from pandatx.identity.auth_config import AuthConfig, Client, split_name

_ROLE: Final = re.compile(r"[A-Za-z0-9_.@+-]{1,64}")
_SCOPE_FQAN: Final = re.compile(r"/([^/]+)/Role=([^/]+)(?:/Capability=[^/]*)?")
_RDN_START: Final = re.compile(r"/(?=[A-Za-z0-9.]+=)")
_LONGEST: Final = 200


@frozen(kw_only=True)
class Standing:
    """Somebody's place in a VO.

    ``role`` is the one that was asked for, or that is given without asking; ``group`` and ``role_name`` are what the
    policies call it. ``dn`` stands where a certificate has its DN.
    """

    vo: str
    role: str | None
    group: str
    role_name: str
    dn: str
    fqans: tuple[str, ...]


def standing(origin: str, claims: Mapping[str, Any], client_id: str, config: AuthConfig) -> Standing:
    """The place that ``origin`` asks for, if the groups of the token have it. Raises TokenRejected."""
    vo, role = split_name(origin)
    if vo not in config.policies:
        raise TokenRejected(f"Unknown vo : {printable(vo[:100])}")
    own = config.named(origin.replace(":", "."))
    stated = _groups(claims, own or config.named(vo))
    robot = own is not None and client_id in own.robot_ids and client_id in _given_to(claims)
    if stated is None:
        stated = frozenset((f"{vo}/{role}" if role else vo,)) if robot else frozenset()
    role = role or _given_role(vo, own, stated)
    group, role_name = _place(vo, role, stated, config)
    return Standing(
        vo=vo,
        role=role,
        group=group,
        role_name=role_name,
        dn=_dn(claims, f"robot {role or ''}" if robot else ""),
        fqans=tuple(dict.fromkeys(_fqans(claims, vo, role, stated))),
    )


def _given_to(claims: Mapping[str, Any]) -> tuple[Any, ...]:
    """The client that asked for a token, as its issuer names it. What stands in ``aud`` anybody may ask for."""
    return claims.get("client_id"), claims.get("azp"), claims.get("sub")


def _groups(claims: Mapping[str, Any], client: Client | None) -> frozenset[str] | None:
    """The groups without the slash that some issuers write before them; None where the token has no such claim."""
    found = claims.get("wlcg.groups" if client is not None and client.wlcg else "groups")
    if found is None:
        return None
    listed = found if isinstance(found, list) else [found]
    return frozenset(group.removeprefix("/") for group in listed if isinstance(group, str))


def _given_role(vo: str, own: Client | None, groups: frozenset[str]) -> str | None:
    return next((each for each in own.auto_roles if f"{vo}/{each}" in groups), None) if own is not None else None


def _place(vo: str, role: str | None, groups: frozenset[str], config: AuthConfig) -> tuple[str, str]:
    if role is not None:
        if not _ROLE.fullmatch(role) or f"{vo}/{role}" not in groups:
            raise TokenRejected(f"Not a member of the {vo}/{printable(role[:100])} group")
        return role, role
    for policy in config.policies[vo]:
        if policy.member.removeprefix("/") in groups:
            return policy.group, policy.role
    raise TokenRejected(f"Not a member of the {vo} group")


def _fqans(claims: Mapping[str, Any], vo: str, role: str | None, groups: frozenset[str]) -> Iterator[str]:
    """Those that the scope names come first, as far as the groups confirm them: the groups are what an issuer says of
    its members, a scope is what a client has asked for (rule R27)."""
    scope = claims.get("scope")
    for word in scope.split() if isinstance(scope, str) else ():
        named = _SCOPE_FQAN.fullmatch(word.rpartition(":")[2]) if word.startswith("role:") else None
        if named and named[1] == vo and _ROLE.fullmatch(named[2]) and f"{vo}/{named[2]}" in groups:
            yield named[0]
    if role is not None:
        yield f"/{vo}/Role={role}"


def _dn(claims: Mapping[str, Any], otherwise: str) -> str:
    """The name, each word capitalised, and the nickname; without a name the subject.

    Nothing that a person may write into a profile looks like a part of a DN.
    """
    name = claims.get("name")
    words = (name if isinstance(name, str) and name.strip() else otherwise).split()
    if not words:
        return _clean(str(claims.get("sub") or ""))
    shown = _clean(" ".join(word[:1].upper() + word[1:].lower() for word in words))
    nickname = claims.get("preferred_username")
    if not isinstance(nickname, str) or not nickname:
        return shown
    return f"{shown}/CN=nickname:{_clean(nickname).replace('/', '_')}"


def _clean(text: str) -> str:
    return _RDN_START.sub("_", printable(text[:_LONGEST]))


def printable(text: str) -> str:
    """The text with a question mark for each character that no log, answer or database should be given."""
    return "".join(char if char.isprintable() else "?" for char in text)
