"""Bearer tokens: is one genuine, is it for us, is it valid now, and whom does it make its holder (rules R13, R27)."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from attrs import Factory, define, frozen
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import TokenRejected
from pandatx.identity import names
from pandatx.identity.auth_config import AuthConfig, Client, split_name
from pandatx.identity.policies import Standing, printable, standing
from pandatx.identity.roles import IdentityLists, Roles
from pandatx.identity.token_keys import Issuer, IssuerAway, name_for_owners

LEEWAY: Final = timedelta(seconds=30)
"""How far the clocks of an issuer and of this server may be apart."""
REMEMBERED: Final = timedelta(minutes=10)
"""How long a token is not verified again (rule R13); its end is looked at each time."""
MOST_DECISIONS: Final = 20_000
ANY_AUDIENCE: Final = "https://wlcg.cern.ch/jwt/v1/any"
_TOLD: Final = (
    *("iss", "sub", "aud", "exp", "nbf", "iat", "name", "preferred_username", "email"),
    *("groups", "wlcg.groups", "scope", "client_id"),
)
"""Claims that their holder is told of."""
_JWS: Final = PyJWS()


@frozen(kw_only=True)
class TokenRules:
    """What is taken. ``issuers`` and ``audiences``: further values of iss and aud."""

    algorithms: tuple[str, ...] = ("RS256",)
    issuers: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()


class Issuers(Protocol):
    """Gives the keys of an issuer."""

    @property
    def generation(self) -> int:
        """Another number whenever keys have changed."""
        ...

    async def keys(self, url: str, kid: str) -> Issuer:
        """The issuer whose discovery document is at ``url``, asked again if it has no ``kid``. Raises IssuerAway."""
        ...


@frozen
class _Decision:
    """Whose a token is, when it ends, and as long as what it was judged by holds."""

    caller: Caller
    expires: datetime
    until: datetime
    config: AuthConfig
    generation: int


@define(eq=False)
class Judge:
    """Judges tokens, and remembers those that are good. ``config`` gives the latest reading of the files."""

    _lists: IdentityLists
    _config: Callable[[], AuthConfig]
    _issuers: Issuers
    _clock: Clock
    _rules: TokenRules = Factory(TokenRules)
    _decisions: OrderedDict[tuple[bytes, str, str | None], _Decision] = Factory(OrderedDict)

    def judge(self, bearer: str, origin: str | None, dn: str | None = None) -> Caller | Awaitable[Caller]:
        """The holder of a token that comes with an Origin, beside a certificate of ``dn``. Raises TokenRejected."""
        if not origin:
            raise TokenRejected("Origin is missing in the request headers: it names the VO")
        if origin.lower().startswith(("http:", "https:")):
            raise TokenRejected("Origin is that of a web page: a token comes with the VO in its place")
        key = (hashlib.sha256(bearer.encode()).digest(), origin, dn)
        known, now = self._decisions.get(key), self._clock.now()
        if known is None or known.until <= now or not self._holds(known):
            return self._decide(bearer, origin, key)
        _check_end(known.expires, now)
        return known.caller

    def _holds(self, decision: _Decision) -> bool:
        return decision.config is self._config() and decision.generation == self._issuers.generation

    async def _decide(self, bearer: str, origin: str, key: tuple[bytes, str, str | None]) -> Caller:
        config = self._config()
        caller, expires = await self._verify(bearer, origin, config)
        self._decisions.pop(key, None)
        while len(self._decisions) >= MOST_DECISIONS:
            self._decisions.popitem(last=False)
        until = self._clock.now() + REMEMBERED
        self._decisions[key] = _Decision(caller, expires, until, config, self._issuers.generation)
        return caller

    async def _verify(self, bearer: str, origin: str, config: AuthConfig) -> tuple[Caller, datetime]:
        header, claims = _read(bearer)
        client, client_id = _client(claims, split_name(origin)[0], origin, config)
        issuer = await self._check_signature(bearer, header, client)
        expires = self._check_claims(claims, client, issuer)
        place = standing(origin, claims, client_id, config)
        if not client.speaks_for(place.vo):
            raise TokenRejected(f"Invalid token. Its issuer does not speak for {place.vo}")
        return self._caller(place, claims, name_for_owners(issuer.name, client.url)), expires

    async def _check_signature(self, bearer: str, header: Mapping[str, Any], client: Client) -> Issuer:
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise _invalid("cannot extract kid from headers")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            raise _invalid("The specified alg value is not allowed")
        try:
            issuer = await self._issuers.keys(client.url, kid)
        except IssuerAway as fault:
            raise TokenRejected(f"The keys of the token issuer cannot be had: {fault}") from None
        if kid not in issuer.keys:
            raise _invalid(f"JWK not found for kid={_shown(kid)}")
        key = issuer.keys[kid].get(algorithm)
        if key is None:
            raise _invalid("The specified alg value is not allowed for this key")
        try:
            _JWS.decode_complete(bearer, key, algorithms=[algorithm], options={"enforce_minimum_key_length": True})
        except PyJWTError as fault:
            raise _invalid(_shown(str(fault))) from None
        return issuer

    def _caller(self, place: Standing, claims: Mapping[str, Any], issuer: str) -> Caller:
        """Roles come from groups; a name is only shown, whatever entries of the lists are like it (rule R27).

        ``issuer`` is the one whose key has signed, whatever older name the token gives it.
        """
        granted = Roles(self._lists).of_fqans((*place.fqans, f"/{place.vo}"))
        return Caller(
            dn=place.dn,
            name=names.compact_name(place.dn),
            fqans=place.fqans,
            how="token",
            production=granted.production,
            pilot=granted.pilot,
            working_groups=granted.working_groups,
            issuer=issuer,
            subject=claims["sub"],
            attributes=tuple(_attributes(place, claims)),
        )

    def _check_claims(self, claims: Mapping[str, Any], client: Client, issuer: Issuer) -> datetime:
        """When the token ends; TokenRejected if it is of another issuer, for another audience, or not for now."""
        for name in ("iss", "sub"):
            value = claims.get(name)
            if not isinstance(value, str) or not value or not value.isprintable():
                raise _invalid(f'Token is missing the "{name}" claim')
        stated, now = claims["iss"], self._clock.now()
        if stated != issuer.name and f"{stated}/" != issuer.name and stated not in self._rules.issuers:
            raise _invalid("Invalid issuer")
        if not _is_for_us(claims.get("aud"), client, self._rules.audiences):
            raise _invalid("Audience doesn't match")
        if (expires := _moment(claims, "exp")) is None:
            raise _invalid('Token is missing the "exp" claim')
        _check_end(expires, now)
        for name in ("nbf", "iat"):
            begins = _moment(claims, name)
            if begins is not None and begins > now + LEEWAY:
                raise _invalid(f"The token is not yet valid ({name})")
        return expires


def _invalid(why: str) -> TokenRejected:
    return TokenRejected(f"Invalid token. {why}")


def _read(bearer: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims, unverified."""
    try:
        parts = _JWS.decode_complete(bearer, options={"verify_signature": False})
        claims = json.loads(parts["payload"])
    except PyJWTError as fault:
        raise _invalid(_shown(str(fault))) from None
    except (ValueError, RecursionError):
        raise _invalid("Invalid payload string") from None
    if not isinstance(claims, dict):
        raise _invalid("Invalid payload string: must be a json object")
    return parts["header"], claims


def _client(claims: Mapping[str, Any], vo: str, origin: str, config: AuthConfig) -> tuple[Client, str]:
    """Whose token this says it is. Of several files with one id that of the Origin comes first, then one of its VO."""
    audience = claims.get("aud")
    named = [*(audience if isinstance(audience, list) else [audience]), claims.get("client_id"), claims.get("sub")]
    for client_id in named:
        found = config.with_id(client_id) if isinstance(client_id, str) else ()
        if found:
            wanted = origin.replace(":", ".")
            ranked = sorted(found, key=lambda client: (client.name != wanted, not client.speaks_for(vo)))
            return ranked[0], str(client_id)
    raise _invalid("cannot extract client_id from token")


def _attributes(place: Standing, claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What system/get_attributes tells the holder: a fixed list (rule R25)."""
    for name, value in (("VO", place.vo), ("GROUP", place.group), ("ROLE", place.role_name)):
        yield f"PANDA_OIDC_{name}", value
    for name in _TOLD:
        if name in claims:
            yield f"PANDA_OIDC_CLAIM_{name}", printable(str(claims[name]))


def _is_for_us(audience: object, client: Client, further: tuple[str, ...]) -> bool:
    """A token that names nobody is for whoever knows its client."""
    if audience is None:
        return True
    ours = {*client.ids, *further, *((client.audience,) if client.audience else ())}
    if client.wlcg:
        ours.add(ANY_AUDIENCE)
    listed = audience if isinstance(audience, list) else [audience]
    return any(isinstance(each, str) and each in ours for each in listed)


def _check_end(expires: datetime, now: datetime) -> None:
    if expires <= now - LEEWAY:
        raise _invalid("Signature has expired")


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not math.isfinite(float(value)):
            raise ValueError
        return datetime.fromtimestamp(int(float(value)), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise _invalid(f"claim {name} is no time") from None


def _shown(text: str) -> str:
    return printable(text[:100])
