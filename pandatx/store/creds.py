"""Files of credentials, as daemons and operators keep them. All of this blocks: call it in a thread."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from attrs import field, frozen

LARGEST: Final = 1 << 20
"""Bytes: no proxy, token or key is longer."""
_PRIVATE: Final = "PRIVATE KEY-----"


class UnfitFile(Exception):
    """A file that must not be given out, or cannot be; its text says why and names no content."""


@frozen(kw_only=True)
class Kept:
    """What a file holds. ``exposed``: its mode, where others on this machine can read it, too."""

    text: str = field(repr=False)
    exposed: str | None = None


def read(path: Path) -> Kept | None:
    """What a file holds, None where there is none.

    Raises UnfitFile for what is no regular file, too large or no text.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnfitFile(error.strerror or "it cannot be read") from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise UnfitFile("it is no regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
    finally:
        os.close(handle)
    if len(content) > LARGEST:
        raise UnfitFile("it is too large")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UnfitFile("it is no text") from None
    return Kept(text=text, exposed=f"{about.st_mode & 0o777:04o}" if about.st_mode & 0o007 else None)


def read_key(directory: Path, name: str, *, private: bool) -> str | None:
    """A key by its name. A name that would leave the directory is that of no key, links that do are not followed.

    Raises UnfitFile for a private key that others can read, whatever it is asked for as.
    """
    if not name or "/" in name or "\0" in name or name.startswith("."):
        return None
    try:
        there = (directory / name).resolve()
        inside = there.is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, or links in a circle
        return None
    kept = read(there) if inside else None
    if kept is None:
        return None
    if kept.exposed is not None and (private or _PRIVATE in kept.text):
        raise UnfitFile(f"its mode is {kept.exposed}, and others must not be able to read it")
    return kept.text
