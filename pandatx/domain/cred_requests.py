"""What callers ask of the credentials that are kept for them (reference/wire.md 2.7 to 2.9, 2.14, 3.7 and 4)."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from pandatx.domain.requests import wire

_LONG: Final = 1024
"""What stands in logs and answers is no longer; no name of ours is."""


@frozen(kw_only=True)
class ProxyRequest:
    """The proxy of a user, by default of the caller; ``dn`` may be a compact name too."""

    role: str | None = wire(None, cut=_LONG)
    dn: str | None = wire(None, cut=_LONG)


@frozen(kw_only=True)
class AccessTokenRequest:
    """The access token of a client of token_cache_config."""

    client_name: str = wire(cut=_LONG)
    token_key: str | None = wire(None, secret=True)


@frozen(kw_only=True)
class TokenKeyRequest:
    """The key that opens a client's access token."""

    client_name: str = wire(cut=_LONG)


@frozen(kw_only=True)
class KeyPairRequest:
    """Two files of keyDir."""

    public_key_name: str = wire(legacy="publicKeyName", cut=_LONG)
    private_key_name: str = wire(legacy="privateKeyName", cut=_LONG)


@frozen(kw_only=True)
class SecretSetting:
    """A secret of the caller; without a value it is removed, without a key all are."""

    key: str | None = wire(None)
    value: str | None = wire(None, secret=True)


@frozen(kw_only=True)
class SecretsRequest:
    """Secrets of the caller, all of them without ``keys``. ``get_json``: the older dialect gives an object, no text."""

    keys: tuple[str, ...] = wire((), most=1000)
    get_json: bool = wire(False, forgiving=True)
