"""What pilots asked for, counted by what they wanted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from operator import add
from typing import Any, Final

from attrs import evolve, frozen

from pandatx.domain.fit import UNLIMITED, Want
from pandatx.domain.labels import LabelFilter

_LIMITS: Final = ("memory", "disk", "walltime")
_KEPT_BITS: Final = 4


@frozen(kw_only=True)
class Asked:
    """Requests at one queue that wanted the same: how many, how many of them got a job, how many were refused for want
    of a role, and when the last one came. ``want`` is None for those of which nothing more is known."""

    want: Want | None
    asked: int = 0
    served: int = 0
    refused: int = 0
    last: datetime

    def __add__(self, other: Asked) -> Asked:
        return evolve(
            self,
            asked=self.asked + other.asked,
            served=self.served + other.served,
            refused=self.refused + other.refused,
            last=max(self.last, other.last),
        )


def roughly(want: Want) -> Want:
    """The want with its limits rounded down, by an eighth at most."""
    return evolve(want, memory=_rough(want.memory), disk=_rough(want.disk), walltime=_rough(want.walltime))


def commonest(found: Iterable[Asked], most: int) -> list[Asked]:
    """The ``most`` wants that were asked for most, and all others together as one of which nothing more is known."""
    known: list[Asked] = []
    rest: list[Asked] = []
    for each in sorted(found, key=lambda each: -each.asked):
        (known if each.want is not None and len(known) < most else rest).append(each)
    if rest:
        known.append(evolve(reduce(add, rest), want=None))
    return sorted(known, key=lambda each: -each.asked)


def _rough(limit: int) -> int:
    cut = max(limit.bit_length() - _KEPT_BITS, 0)
    return limit >> cut << cut


def document_of(want: Want | None) -> dict[str, Any]:
    """A want as JSON: only what it limits, and the labels."""
    if want is None:
        return {}
    found: dict[str, Any] = {
        "labels": sorted(want.labels.labels),
        "processing_types": sorted(want.labels.processing_types),
    }
    found |= {name: value for name in _LIMITS if (value := getattr(want, name)) < UNLIMITED}
    for name in ("resource_type", "user", "task_id", "ram_per_core"):
        if (value := getattr(want, name)) is not None:
            found[name] = value
    return {**found, "background": True} if want.background else found


def want_of(document: dict[str, Any]) -> Want | None:
    """What ``document_of`` has made a document of."""
    if not document:
        return None
    rest = {name: value for name, value in document.items() if name not in ("labels", "processing_types")}
    labels = LabelFilter(frozenset(document["labels"]), frozenset(document["processing_types"]))
    return Want(labels=labels, **rest)
