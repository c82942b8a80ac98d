"""Files that callers send, what they may be called, how large they may be, and who may change them (wire.md 3.5)."""

from __future__ import annotations

import re
import struct
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from attrs import frozen

from pandatx.domain.requests import BIG, wire
from pandatx.errors import PandaError

MIB: Final = 1 << 20
SANDBOX_MOST: Final = 768 * MIB
NO_BUILD_MOST: Final = 10 * MIB
LOG_MOST: Final = 100 * MIB
CHECKPOINT_MOST: Final = 500 * MIB
INFLATED_LOG_MOST: Final = 1024 * MIB
"""Bytes of one piece of a log once it is inflated."""

OVERWRITES: Final = ".__ow__"
"""How the name of a file ends that may take the place of an older one."""
UNRECORDED: Final = (".out",)
"""How names of files end that are nobody's sandboxes."""
REUSED_FOR: Final = timedelta(days=3)
"""A sandbox that is younger is used again rather than sent again."""
NOWHERE: Final = "localhost.localdomain"
"""What a host without a name wrote into the tables: no file is found there."""
CHECKPOINT: Final = "hpo_cp_"
MARK: Final = "x-panda-cache-node"
"""The header of a server that asks another for a file: who is asked with it answers for itself alone."""
LOG_FOLDER: Final = "jedilog"

_PROPER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@,~-]*")
_LONGEST: Final = 250
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_READ_BY_DAEMONS: Final = ("workflow.", "recov.", "evp.")
_FOLDERS: Final = frozenset((LOG_FOLDER, "schedconfig"))
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_SUB_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class FileRefused(PandaError):
    """A file is not taken; the text is what clients show to their users."""


class CannotOverwrite(FileRefused):
    """There is a file of that name already."""

    def __init__(self) -> None:
        super().__init__("ERROR: cannot overwrite file")


class CannotWrite(FileRefused):
    """The disk does not take the file."""

    def __init__(self) -> None:
        super().__init__("ERROR: cannot write file")


@frozen(kw_only=True)
class Uploaded:
    """A file that has come in. It lies at ``path`` until somebody takes it from there; then it is removed.

    ``name`` is as the client sent it, ``tail`` the last eight bytes.
    """

    name: str
    path: Path
    size: int
    tail: bytes = b""

    @property
    def checksum(self) -> str | None:
        """What stands for the CRC-32 in the footer of a gzip file; panda-client reads it of any file alike."""
        return str(struct.unpack("<II", self.tail)[0]) if len(self.tail) == 8 else None


@frozen(kw_only=True)
class Placed:
    """A sandbox in the cache of a host, as USERCACHEUSAGE has it.

    ``subject``: whose the name of the owner must be; None where that does not matter.
    """

    owner: str
    name: str
    host: str
    size: int | None
    checksum: str | None
    created: datetime
    subject: str | None = None


@frozen(kw_only=True)
class FileUpload:
    """A file in a multipart form."""

    file: Uploaded = wire()


@frozen(kw_only=True)
class TouchedFile:
    """A file of the cache that is still wanted."""

    file_name: str = wire(legacy="filename")


@frozen(kw_only=True)
class DeletedFile:
    """A file of the cache that its owner does not want any more."""

    file_name: str = wire(legacy="file")


@frozen(kw_only=True)
class RegisteredFile:
    """A sandbox that another server has taken in."""

    user_name: str = wire(legacy="userName", cut=128)
    file_name: str = wire(legacy="fileName")
    file_size: int = wire(legacy="fileSize", exact=True, bound=BIG)
    checksum: str = wire(legacy="checkSum", cut=36)


@frozen(kw_only=True)
class KnownFile:
    """What a client knows of a sandbox before it sends it: bytes, and the CRC-32 in the footer of its gzip file."""

    file_size: int = wire(legacy="fileSize", exact=True, bound=BIG)
    checksum: str = wire(legacy="checkSum", cut=36)


@frozen(kw_only=True)
class LogPart:
    """A log file, from a byte on."""

    log_name: str = wire(legacy="logName")
    offset: int = wire(0, least=0, bound=BIG)


@frozen(kw_only=True)
class DeletedCheckpoint:
    """A checkpoint of a task."""

    task_id: str = wire()
    sub_id: str = wire()


def base_name(sent: str) -> str:
    """The last part of the path that a client gave for a name; panda-client's native mode sends whole paths."""
    return sent.rpartition("/")[2]


def cache_name(sent: str) -> str:
    """The name under which a file is kept. Raises ValueError with what is wrong with it, to follow the field's name."""
    if ".." in sent.split("/"):
        raise ValueError("the name must not lead to another directory")
    name = base_name(sent)
    if not name:
        raise ValueError("the file has no name")
    if len(name) > _LONGEST:
        raise ValueError(f"the name is longer than {_LONGEST} characters")
    if name.startswith("."):
        raise ValueError("the name must not begin with a dot")
    if not _PROPER.fullmatch(name):
        raise ValueError("the name may hold letters, digits and _ . + = @ , ~ - only, and no blanks")
    if _DEVICES.fullmatch(name):
        raise ValueError("the name is that of a device")
    return name


def sandbox_name(sent: str) -> str:
    """The name of a file that a user sends to the cache: also none that the server itself reads or writes there."""
    name = cache_name(sent)
    if name.startswith((*_READ_BY_DAEMONS, CHECKPOINT)) or name in _FOLDERS:
        raise ValueError(f"the server keeps names such as {name.partition('.')[0][:20]}... for itself")
    return name


def checkpoint_ids(sent: str) -> tuple[int, str]:
    """Task and sub id in the name ``<task>_<sub>`` of a checkpoint. Raises ValueError."""
    task_id, _, sub_id = base_name(sent).partition("_")
    return checkpoint_task(task_id), checkpoint_sub(sub_id)


def checkpoint_task(text: str) -> int:
    """Raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("the task id is not a number")
    return int(text)


def checkpoint_sub(text: str) -> str:
    """Raises ValueError."""
    if not _SUB_ID.fullmatch(text):
        raise ValueError("the sub id may hold letters, digits and - only")
    return text


def checkpoint_name(task_id: int, sub_id: str) -> str:
    return f"{CHECKPOINT}{task_id}_{sub_id}"


def judge_sandbox(sent: str, size: int) -> None:
    """Raises FileRefused for a file that is too large for its name."""
    name = base_name(sent)
    advice = "remove redundant files from your work area"
    if name.endswith(UNRECORDED):
        most = LOG_MOST
    elif name.startswith("sources."):
        most = SANDBOX_MOST
    else:
        most = NO_BUILD_MOST
        advice = "submit the job without --noBuild/--libDS since those options impose a tighter size limit"
    if size > most:
        over = -(-size // MIB)
        raise FileRefused(f"ERROR: upload failure. Exceeded size limit {over} MB > {most // MIB} MB. Please {advice}")


def judge_log(sent: str, size: int) -> None:
    """Raises FileRefused."""
    if size > LOG_MOST:
        raise FileRefused("ERROR: upload failure. Exceeded size limit")


def judge_checkpoint(sent: str, size: int) -> None:
    """Raises FileRefused."""
    if size > CHECKPOINT_MOST:
        raise FileRefused(f"Exceeded size limit {size}>{CHECKPOINT_MOST}")


def may_replace(caller: str, production: bool, owner: str | None) -> bool:
    """Whether a caller may put a file in the place of one of an owner; of None nothing is known."""
    return production or owner == caller
