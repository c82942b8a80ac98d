"""Notes of sandboxes that the database does not know of yet, one small file each. Everything here blocks."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from pandatx.domain.file_requests import Placed

_NOTE: Final = ".json"
_REFUSED: Final = ".refused"
_FIRST: Final = datetime.min.replace(tzinfo=UTC)


def keep(folder: Path, placed: Placed) -> None:
    """Write a note down; it is on the disk when this returns. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = hashlib.sha256(f"{placed.host}/{placed.name}/{placed.created.isoformat()}".encode()).hexdigest()[:32]
    being_written = folder / f".{key}.{os.getpid()}"
    descriptor = os.open(being_written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(attrs.asdict(placed)))
            file.flush()
            os.fsync(descriptor)
        being_written.replace(folder / f"{key}{_NOTE}")
    except OSError:
        with suppress(OSError):
            being_written.unlink()
        raise
    _sync(folder)


def waiting(folder: Path) -> list[tuple[Path, Placed | None]]:
    """The notes there are, the oldest first; None for one that cannot be read."""
    found: list[tuple[Path, Placed | None]] = []
    for path in sorted(folder.glob(f"*{_NOTE}")) if folder.is_dir() else ():
        try:
            values: dict[str, Any] = orjson.loads(path.read_bytes())
            placed = Placed(**{**values, "created": datetime.fromisoformat(values["created"])})
        except OSError:  # another process was first, or it can be read another time
            continue
        except (ValueError, TypeError, KeyError):
            placed = None
        found.append((path, placed))
    return sorted(found, key=lambda each: each[1].created if each[1] is not None else _FIRST)


def drop(path: Path) -> None:
    """The database knows it now."""
    path.unlink(missing_ok=True)


def set_aside(path: Path) -> None:
    """The database will not have it; it is kept, out of the way."""
    with suppress(FileNotFoundError):  # another process was first
        path.replace(path.with_suffix(_REFUSED))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
