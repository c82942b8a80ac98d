"""The metadata of the finished jobs of a user's task (reference/wire.md 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import orjson
from attrs import frozen
from twisted.internet.threads import deferToThread

from pandatx.domain.caller import Caller
from pandatx.domain.json_texts import read_json
from pandatx.domain.task_secrets import may_read, shown
from pandatx.errors import PandaError
from pandatx.store import recovery as tasks
from pandatx.store import user_metadata as store
from pandatx.store.database import Database, in_batches

TOGETHER: Final = 200
LARGEST: Final = 128 << 20
"""Characters of metadata that are told at once."""


@frozen
class UserMetadata:
    """Read what pilots reported as metadata."""

    _database: Database

    async def of_task(self, caller: Caller, task_id: int) -> dict[str, bytes]:
        """The metadata of the finished jobs by PandaID, already JSON: what is no JSON is left out, NaN is null, secrets
        are for the owner of the task only.

        Raises PandaError where there is too much.
        """
        own = may_read(caller, await self._database.transaction("metadata.owner", tasks.owner_of_task, task_id))
        found: dict[str, bytes] = {}
        size = 0
        for some in in_batches(await store.finished(self._database, task_id), TOGETHER):
            texts = await store.texts(self._database, some)
            size += sum(len(text) for _, text in texts)
            if size > LARGEST:
                raise PandaError(f"the jobs of the task have more than {LARGEST} characters of metadata")
            found |= await deferToThread(_read, texts, own)
        return found


def _read(texts: Sequence[tuple[int, str]], own: bool) -> dict[str, bytes]:
    found = {}
    for panda_id, text in texts:
        with suppress(ValueError, TypeError):
            found[str(panda_id)] = _json(text, own)
    return found


def _json(text: str, own: bool) -> bytes:
    try:
        said = orjson.loads(text)
    except ValueError:  # as Python's json writes it, perhaps
        return orjson.dumps(read_json(text) if own else shown(read_json(text)))
    return text.encode() if own else orjson.dumps(shown(said))
