"""The keys of token issuers: what a discovery document and a JWKS say, and what they can verify."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import Factory, frozen
from jwt import PyJWK
from jwt.exceptions import PyJWTError

ALGORITHMS: Final[dict[str, tuple[str, ...]]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
"""By the type of a key, or its curve. What signs with a shared secret is never among them."""
_MOST: Final = 200


class IssuerAway(Exception):
    """An issuer whose keys cannot be had at the moment, and why."""


@frozen
class Issuer:
    """An issuer by its own name, and its keys by kid, each for the algorithms that it may be used with."""

    name: str
    keys: Mapping[str, Mapping[str, PyJWK]] = Factory(dict)


def read_discovery(content: bytes) -> tuple[str, str]:
    """Name of the issuer and address of its keys. Raises ValueError."""
    document = _object(content)
    name, keys = document.get("issuer"), document.get("jwks_uri")
    if not isinstance(name, str) or not name or not isinstance(keys, str):
        raise ValueError("its discovery document has no issuer or no jwks_uri")
    return name, keys


def name_for_owners(name: str, url: str) -> str:
    """What the names of owners are bound to (rule R27): an issuer's own name, if it is one of the host of its discovery
    document. Any issuer can write another's name there; then its host stands beside it.
    """
    host = _host(url)
    return name if _host(name) == host else f"{name} at {host}"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def read_keys(content: bytes, algorithms: Iterable[str]) -> dict[str, dict[str, PyJWK]]:
    """The keys of a JWKS that verify by one of ``algorithms``, by kid. Raises ValueError if that is not a JWKS.

    A key for another use, or one that cannot be read, is left out: issuers publish those of their other services too.
    """
    listed = _object(content).get("keys")
    if not isinstance(listed, list):
        raise ValueError("its JWKS has no list of keys")
    taken = frozenset(algorithms)
    found: dict[str, dict[str, PyJWK]] = {}
    for jwk in listed[:_MOST]:
        if isinstance(jwk, dict) and _verifies(jwk):
            kid = jwk["kid"]
            found[kid] = {**_by_algorithm(jwk, taken), **found.get(kid, {})}
    return found


def _verifies(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops")
    return (
        isinstance(jwk.get("kid"), str)
        and jwk.get("use") in (None, "sig")
        and "d" not in jwk
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def _by_algorithm(jwk: dict[str, Any], taken: frozenset[str]) -> dict[str, PyJWK]:
    kind = jwk.get("kty") if jwk.get("kty") == "RSA" else jwk.get("crv")
    found = {}
    for algorithm in ALGORITHMS.get(kind, ()) if isinstance(kind, str) else ():
        if algorithm in taken and jwk.get("alg") in (None, algorithm):
            try:
                found[algorithm] = PyJWK(jwk, algorithm)
            except (PyJWTError, ValueError, TypeError):
                return {}
    return found


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("what it answers is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("what it answers is not a JSON object")
    return document
