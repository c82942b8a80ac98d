"""Access tokens from a token issuer, by the client credentials grant of OAuth (RFC 6749, 4.4)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
from attrs import field, frozen

from pandatx.clients.web import Away, Web

_WORD = re.compile(r"[a-z_]{1,40}")


class NoToken(Exception):
    """An issuer that gave no token, and why. Its text carries no secret."""


@frozen(kw_only=True)
class Grant:
    """A token, and how long it lives if the issuer said so."""

    token: str = field(repr=False)
    lifetime: timedelta | None


async def client_credentials(web: Web, endpoint: str, client_id: str, secret: str, scope: str | None) -> Grant:
    """Ask for a token in a client's own name. Raises NoToken."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    if scope:
        form["scope"] = scope
    try:
        answer = await web.post(endpoint, "token", {"Accept": "application/json"}, body=form)
    except Away as error:
        raise NoToken(str(error)) from error
    found = _object(answer.content)
    if answer.code != 200:
        why = found.get("error")
        word = f" ({why})" if isinstance(why, str) and _WORD.fullmatch(why) else ""
        raise NoToken(f"{urlsplit(endpoint).hostname} answers {answer.code}{word}")
    token = found.get("access_token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise NoToken(f"{urlsplit(endpoint).hostname} gives no access_token")
    return Grant(token=token, lifetime=_lifetime(found.get("expires_in")))


def _lifetime(seconds: object) -> timedelta | None:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 1e9:
        return timedelta(seconds=seconds)
    return None


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
