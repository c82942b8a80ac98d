"""What data management tells in messages: events as Rucio's hermes sends them, and what they mean for blocks."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

import orjson
from attrs import frozen

from pandatx.domain.dataset_manager import is_dispatch, is_sub

_COMPLETE: Final = frozenset(("datasetlock_ok", "rule_ok"))
"""All files of the dataset are where a rule wants them. ``close`` is none of these: we close sub blocks ourselves, as
soon as no more files come, and before those that there are have arrived."""
_ZIP: Final = re.compile(r"\Apanda\..*_zip\Z")


class UnreadableMessage(ValueError):
    """A message that is no event."""


@frozen(kw_only=True)
class Event:
    """The files of a block are where they should be."""

    name: str
    scope: str | None = None
    rse: str | None = None


def read(body: str | bytes) -> Event | None:
    """The event of a message, None for one that is nothing to us. Raises UnreadableMessage.

    Only blocks that this server has made are meant: a rule over a dataset of a user says nothing of its transfers.
    """
    try:
        message = orjson.loads(body)
        kind = str(message["event_type"]).lower()
        payload: Any = message["payload"]
        if isinstance(payload, str):
            payload = orjson.loads(payload)
        if kind not in _COMPLETE:
            return None
        name = payload["name"]
        scope, rse = payload.get("scope"), payload.get("rse")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableMessage(f"{type(error).__name__}: {error}") from error
    if not isinstance(name, str) or not name or "\0" in name:
        raise UnreadableMessage("it names no dataset")
    name = name.rpartition(":")[2]
    if not (is_dispatch(name) or is_sub(name)):
        return None
    return Event(name=name, scope=_text(scope), rse=_text(rse))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


class Meaning(StrEnum):
    """What a complete block leads to."""

    ACTIVATE = "activate"
    ACTIVATE_AGAIN = "activate again"
    FINISH = "finish"


def meaning(name: str, kind: str | None) -> Meaning | None:
    """For a row of Datasets of some type; what is read from a zip block is read whenever it is complete."""
    if kind == "dispatch":
        return Meaning.ACTIVATE
    if kind == "output":
        return Meaning.ACTIVATE_AGAIN if _ZIP.search(name) else Meaning.FINISH
    return None
