"""Access tokens that are kept for clients: the file that names them, and when each is to be renewed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen

LONGEST: Final = timedelta(minutes=60)
"""A token is renewed at this age at the latest, whatever its lifetime."""
KEY_HOURS: Final = 96
"""Lifetime of a token key where the file does not say."""
KEY_EVERY: Final = timedelta(hours=1)
"""A client gets a new key when its youngest one is so old."""
_PREFIX: Final = "access_token_"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,99}")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@frozen(kw_only=True)
class TokenClient:
    """A client of a token issuer. ``endpoint`` None: somebody else writes ``file``, and no token is asked for."""

    name: str
    endpoint: str | None = None
    client_id: str = ""
    secret: str = field(default="", repr=False)
    scope: str | None = None
    file: Path | None = None
    use_key: bool = False
    key_lifetime: timedelta = timedelta(hours=KEY_HOURS)

    def file_in(self, directory: Path) -> Path:
        """Where its token is kept."""
        return self.file or directory / f"{_PREFIX}{self.name}"


@frozen(kw_only=True)
class TokenKey:
    """What opens the access token of a client until it expires."""

    client: str
    key: str = field(repr=False)
    expires: datetime


@frozen(kw_only=True)
class TokenClients:
    """The clients that a file names, and what is wrong with those that are left out, one line each."""

    clients: tuple[TokenClient, ...]
    faults: tuple[str, ...]


def read_clients(content: bytes) -> TokenClients:
    """Read token_cache_config: an object of clients by name. Raises ValueError, whose text carries no secret."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("it is not an object of clients by name")
    clients, faults = [], []
    for name, entry in document.items():
        fault = "its entry is not an object" if not isinstance(entry, dict) else next(_faults(name, entry), None)
        if fault:
            faults.append(f"client {name[:100]!r} gets no token: {fault}")
        else:
            clients.append(_client(name, entry))
    return TokenClients(clients=tuple(clients), faults=tuple(faults))


def _faults(name: str, entry: dict[str, Any]) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield "its name cannot be part of a file's"
    endpoint, file = entry.get("endpoint"), entry.get("token_file_path")
    if not endpoint and not file:
        yield "it has neither endpoint nor token_file_path"
    for key in ("endpoint", "client_id", "secret") if endpoint else ():
        if not isinstance(entry.get(key), str) or not entry[key]:
            yield f"{key} is missing or no text"
    for key in ("scope", "token_file_path"):
        if not isinstance(entry.get(key) or "", str):
            yield f"{key} is no text"
    if isinstance(endpoint, str) and endpoint and not _keeps_secrets(endpoint):
        yield "a secret is sent to an https:// endpoint only"
    hours = entry.get("token_key_lifetime", KEY_HOURS)
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 1 < hours <= 24 * 366:
        yield "token_key_lifetime is no number of hours above 1"


def _keeps_secrets(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    except ValueError:
        return False


def _client(name: str, entry: dict[str, Any]) -> TokenClient:
    file = entry.get("token_file_path")
    return TokenClient(
        name=name,
        endpoint=entry.get("endpoint") or None,
        client_id=entry.get("client_id") or "",
        secret=entry.get("secret") or "",
        scope=entry.get("scope") or None,
        file=Path(file) if file else None,
        use_key=entry.get("use_token_key") is True,
        key_lifetime=timedelta(hours=entry.get("token_key_lifetime", KEY_HOURS)),
    )


def is_due(token: str, written: datetime, told: timedelta | None, now: datetime) -> bool:
    """Whether a token is to be renewed: when half of its life is over, and after an hour in any case.

    Its lifetime is what it says itself, if it is a JWT, else ``told``: what the issuer said when it was asked for.
    """
    if not token.strip() or written > now:
        return True
    claims = _claims(token)
    expires = _moment(claims.get("exp"))
    if expires is not None:
        issued = _moment(claims.get("iat")) or written
        return now >= min(written + LONGEST, issued + (expires - issued) / 2)
    return now >= written + min(LONGEST, told / 2 if told is not None else LONGEST)


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified; nothing for what is none."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None
