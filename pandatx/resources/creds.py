"""The group ``creds``: credentials and secrets. Pilots read some of the older answers as Python literals, so that
null, true and false have no place in them (reference/wire.md 7, 29)."""

from __future__ import annotations

import json
from typing import Final, TypedDict

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.cred_requests import (
    AccessTokenRequest,
    KeyPairRequest,
    ProxyRequest,
    SecretSetting,
    SecretsRequest,
    TokenKeyRequest,
)
from pandatx.resources.api import JSON, Answer, Call, LegacyForm, Style, operation, secure
from pandatx.services.creds import Creds
from pandatx.services.secrets import UserSecrets

_PERMISSION: Final = 70
_ALWAYS_JSON: Final = LegacyForm(Style.STATUS_JSON, role_code=_PERMISSION)
_STATUS: Final = LegacyForm(Style.STATUS, role_code=_PERMISSION)


class UserProxy(TypedDict):
    """A proxy or an access token, under the keys of both kinds of clients."""

    user_proxy: str
    userProxy: str


class TokenKeyOfClient(TypedDict):
    """A token key."""

    tokenKey: str


class KeyPairOfServer(TypedDict):
    """A key pair, under the keys of both kinds of clients."""

    public_key: str
    private_key: str
    publicKey: str
    privateKey: str


@frozen
class CredsResource:
    """What is kept for users and handed out to those that the table of users allows it."""

    _creds: Creds
    _secrets: UserSecrets

    @operation(
        "creds/get_proxy",
        allows=secure,
        legacy="getProxy",
        verb="GET",
        asks=ProxyRequest,
        gives=UserProxy,
        form=_ALWAYS_JSON,
    )
    async def get_proxy(self, caller: Caller, request: ProxyRequest, call: Call) -> Answer:
        """Hand out the proxy that is kept for a user; the caller needs the letter p in the table of users."""
        return _proxy(await self._creds.proxy(caller, request.role, request.dn))

    @operation(
        "creds/get_access_token",
        allows=secure,
        legacy="get_access_token",
        verb="GET",
        asks=AccessTokenRequest,
        gives=UserProxy,
        form=_ALWAYS_JSON,
    )
    async def get_access_token(self, caller: Caller, request: AccessTokenRequest, call: Call) -> Answer:
        """Hand out the access token of a client; the caller needs the letter p, and the token's key if it has one."""
        return _proxy(await self._creds.access_token(caller, request.client_name, request.token_key))

    @operation(
        "creds/get_token_key",
        allows=secure,
        legacy="get_token_key",
        verb="GET",
        asks=TokenKeyRequest,
        gives=TokenKeyOfClient,
        form=_STATUS,
    )
    async def get_token_key(self, caller: Caller, request: TokenKeyRequest, call: Call) -> Answer:
        """Hand out the newest key for a client's access token; the caller needs the letter t in the table of users."""
        told = {"tokenKey": await self._creds.token_key(caller, request.client_name)}
        return Answer(data=told, fields=told)

    @operation(
        "creds/get_key_pair",
        allows=secure,
        legacy="getKeyPair",
        verb="GET",
        asks=KeyPairRequest,
        gives=KeyPairOfServer,
        form=_STATUS,
    )
    async def get_key_pair(self, caller: Caller, request: KeyPairRequest, call: Call) -> Answer:
        """Hand out two keys of the server's key directory; the caller needs the letter k in the table of users."""
        pair = await self._creds.key_pair(caller, request.public_key_name, request.private_key_name)
        older = {"publicKey": pair.public, "privateKey": pair.private}
        return Answer(data={"public_key": pair.public, "private_key": pair.private, **older}, fields=older)

    @operation("creds/set_user_secrets", allows=secure, legacy="set_user_secret", asks=SecretSetting, form=JSON)
    async def set_user_secrets(self, caller: Caller, request: SecretSetting, call: Call) -> Answer:
        """Keep a secret for the caller's jobs; without a value remove it, without a key remove all."""
        await self._secrets.change(caller, request.key, request.value)
        return Answer(message="OK", value=[True, "OK"])

    @operation(
        "creds/get_user_secrets",
        allows=secure,
        legacy="get_user_secrets",
        verb="GET",
        asks=SecretsRequest,
        gives=str,
        form=JSON,
    )
    async def get_user_secrets(self, caller: Caller, request: SecretsRequest, call: Call) -> Answer:
        """Tell the caller's secrets, or those of some keys; ``data`` is the JSON text of an object."""
        found = await self._secrets.get(caller, request.keys)
        text = json.dumps(found)
        return Answer(data=text, value=[True, found if request.get_json else text])


def _proxy(text: str) -> Answer:
    return Answer(data={"user_proxy": text, "userProxy": text}, fields={"errorDialog": "", "userProxy": text})
