"""Files in directories that are storages, laid out as the pilot's `mv` copytool leaves them (reference/pilot.md 3)."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

_PIECE = 1 << 20


def path_in(directory: str, scope: str | None, lfn: str) -> Path | None:
    """Where a file of a scope lies below a storage's directory; None for a name that would lead out of it."""
    digest = hashlib.md5(f"{scope or ''}:{lfn}".encode(), usedforsecurity=False).hexdigest()
    parts = [part for part in (scope or "").split(".") if part]
    path = Path(directory, *parts, digest[0:2], digest[2:4], lfn)
    return None if "/" in (scope or "") or "/" in lfn or ".." in (lfn, *parts) else path


def find(storage: dict[str, str], scope: str | None, lfn: str, first: str | None = None) -> Path | None:
    """The file in one of the storages, looked for in the one named ``first`` before the others."""
    for name in sorted(storage, key=lambda name: name != first):
        path = path_in(storage[name], scope, lfn)
        if path is not None and path.is_file():
            return path
    return None


def adler32(path: Path) -> str:
    """The checksum of a file as eight hex digits."""
    value = 1
    with path.open("rb") as content:
        while piece := content.read(_PIECE):
            value = zlib.adler32(piece, value)
    return f"{value:08x}"


def difference(path: Path, reported: dict[str, Any]) -> str | None:
    """In what a file differs from its report, or None."""
    size = path.stat().st_size
    if reported.get("fsize") is not None and int(reported["fsize"]) != size:
        return f"has {size} bytes where {reported['fsize']} were reported"
    wanted = reported.get("adler32")
    if wanted and adler32(path) != str(wanted).lower().removeprefix("0x").zfill(8):
        return f"has the checksum {adler32(path)} where {wanted} was reported"
    return None
