"""The files of the schedconfig cache: what pilots and factories read of a queue (reference/wire.md 2.15)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from pandatx.domain.parameters import value_of

ALL_QUEUES: Final = "schedconfig.all.json"
PILOT_CONFIG: Final = "pilot_gdp_config.json"
NAME_LIMIT: Final = 200

# The order of the first one is that of the fields in QUEUE.pilot.pilot.
_PILOT: Final = """
appdir allowdirectaccess cloud datadir dq2url copytool copytoolin copysetup copysetupin ddm se sepath seprodpath
envsetup envsetupin region copyprefix copyprefixin lfcpath lfcprodpath lfchost lfcregister sein wntmpdir proxy retry
recoverdir space memory cmtconfig status setokens glexec seopt gatekeeper pcache maxinputsize timefloor corecount
faxredirector allowfax maxtime maxwdir
""".split()
_FACTORY: Final = """
site siteid nickname cloud status jdl queue localqueue nqueue environ proxy glexec depthboost idlepilotsupression
pilotlimit transferringlimit memory maxtime system fairsharepolicy autosetup_pre autosetup_post
""".split()


@frozen(kw_only=True)
class QueueFiles:
    """The files of a queue by the ending of their names, which begin with the nickname or with the queue's name."""

    nickname: str
    queue: str
    contents: Mapping[str, bytes]

    @property
    def document(self) -> bytes:
        """The whole description."""
        return self.contents["all.json"]

    def names(self) -> Iterable[tuple[str, str]]:
        """File name and ending, those by nickname first."""
        for name in dict.fromkeys((self.nickname, self.queue)):
            for ending in self.contents:
                yield f"{name}.{ending}", ending


def files_of(queue: str, document: Mapping[str, Any]) -> QueueFiles:
    """Render a queue's description; ``queue`` is the name it is stored under, which the files give as siteid."""
    whole = {**document, "siteid": queue}
    releases = whole.get("releases")
    if isinstance(releases, str):
        whole["releases"] = releases.split("|")
    contents = {
        "pilot.pilot": "|".join(f"{field}={whole.get(field) or ''}" for field in _PILOT),
        "pilot.json": _fields(whole, _PILOT),
        "all.json": json.dumps(whole, sort_keys=True, indent=4),
        "factory.json": _fields(whole, _FACTORY),
    }
    nickname = document.get("nickname")
    return QueueFiles(
        nickname=nickname if isinstance(nickname, str) and nickname else queue,
        queue=queue,
        contents={ending: content.encode() for ending, content in contents.items()},
    )


def all_queues(documents: Mapping[str, bytes]) -> Iterator[bytes]:
    """The file of all queues in pieces, from the rendered documents by nickname."""
    before = b"{\n"
    for name in sorted(documents):
        yield before + json.dumps(name).encode() + b": "
        yield documents[name]
        before = b",\n"
    yield b"\n}"


def pilot_config(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """CONFIG's rows for the pilot, VO to key to value; null where value and type do not agree."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["vo"], {})[row["key"]] = value_of(row["type"], row["value"], row["value_json"])
    return json.dumps(found, sort_keys=True, indent=4).encode()


def fault_in(name: str) -> str | None:
    """Why a queue's name cannot begin the name of a file; None if it can."""
    if not 0 < len(name.encode(errors="replace")) <= NAME_LIMIT:
        return f"it has not between 1 and {NAME_LIMIT} bytes"
    if name.startswith(".") or "/" in name or not name.isprintable():
        return "it could lead out of the folder"
    if f"{name}.all.json" == ALL_QUEUES:
        return "a file of that name holds all queues"
    return None


def _fields(whole: Mapping[str, Any], fields: Iterable[str]) -> str:
    return json.dumps({field: whole.get(field, "") for field in fields}, sort_keys=True, indent=4)
