"""Worker nodes as pilots describe them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from attrs import NOTHING, evolve, fields

from pandatx.domain.requests import WorkerNode, WorkerNodeGpu

T = TypeVar("T", WorkerNode, WorkerNodeGpu)

_NOISE: Final = re.compile(r"\((?:r|tm|c)\)|\bcpu\b|\bprocessor\b|\b\d+-core\b|@.*$", re.I)
_KINDS: Final[dict[str, type]] = {"str": str, "int": int, "float": float}


def bare_host(name: str) -> str:
    """The host without the batch slot before it."""
    return name.rpartition("@")[2]


def normal_cpu_model(text: str) -> str:
    """The model without trade marks, clock and number of cores: the same for the same hardware everywhere."""
    return " ".join(_NOISE.sub(" ", text).split())


def on_host(node: T) -> T:
    """The record with the bare host name."""
    return evolve(node, host_name=bare_host(node.host_name))


def node_of(kind: type[T], values: Mapping[str, Any]) -> T | None:
    """A record from a block of a job report, with the same fields; None where a needed one is missing or wrong."""
    found: dict[str, Any] = {}
    for each in fields(kind):
        value = _value(values.get(each.name), str(each.type).partition(" ")[0], each.metadata["wire"])
        if value is not None:
            found[each.name] = value
        elif each.default is NOTHING:
            return None
    return kind(**found)


def _value(value: Any, kind: str, how: Any) -> Any:
    if kind == "float" and type(value) is int:
        value = float(value)
    if type(value) is not _KINDS[kind]:
        return None
    if isinstance(value, str):
        return value.replace("\0", "")[: how.cut] or None
    return value if how.bound is None or -how.bound <= value <= how.bound else None
