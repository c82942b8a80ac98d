"""Proxies that are kept for users: how their files are named, and when they are to be renewed."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

ASKED_HOURS: Final = 96
RENEWED_BELOW: Final = timedelta(hours=94)
"""A proxy that lives for less than this is renewed."""
AGAIN_AFTER: Final = timedelta(hours=1)
"""And not sooner than so long after the last try."""


def file_name(holder: str, role: str | None) -> str:
    """The file of a holder's proxy; the holder is a DN without proxy parts, or a compact name.

    Of a role as ``atlas:/atlas/Role=pilot`` the last word counts, so that asking for ``Role=pilot`` finds it.
    """
    ending = "" if role is None else f".{role.split('=')[-1]}"
    return hashlib.sha1(f"{holder}{ending}".encode(), usedforsecurity=False).hexdigest()


def is_due(expires: datetime | None, tried: datetime | None, now: datetime) -> bool:
    """Whether to fetch a proxy; ``expires`` None: there is none. ``tried`` None: not tried since the server started."""
    if tried is not None and now - tried < AGAIN_AFTER:
        return False
    return expires is None or expires - now <= RENEWED_BELOW
