"""What is told of a queue to those who ask for its specification (reference/wire.md 5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pandatx.domain.queues import Queue

EVERY: Final = "all"
_OF_DOCUMENT: Final[Mapping[str, str]] = {
    "releases": "releases",
    "memory": "memory",
    "maxtime": "maxtime",
    "mintime": "mintime",
    "maxinputsize": "maxinputsize",
    "comment": "comment_",
    "statusmodtime": "lastmod",
    "pledgedCPU": "pledgedcpu",
    "reliabilityLevel": "reliabilitylevel",
    "iscvmfs": "is_cvmfs",
    "transferringlimit": "transferringlimit",
    "maxwdir": "maxwdir",
    "fairsharePolicy": "fairsharepolicy",
    "allowfax": "allowfax",
    "wnconnectivity": "wnconnectivity",
    "catchall": "catchall",
    "role": "role",
    "pandasite_state": "pandasite_state",
    "minrss": "minrss",
    "direct_access_lan": "direct_access_lan",
    "direct_access_wan": "direct_access_wan",
    "tier": "tier",
    "objectstores": "objectstores",
    "unified_name": "unified_name",
    "jobseed": "jobseed",
    "maxDiskio": "maxdiskio",
    "extra_queue_params": "params",
}
"""Attribute, and the key of the queue's description that it is; null where the description has none."""


def specs(queues: Iterable[Queue], kind: str) -> dict[str, dict[str, Any]]:
    """The specifications of the queues of a type, or of all, by name."""
    return {queue.name: spec(queue) for queue in queues if kind in (EVERY, queue.type)}


def spec(queue: Queue) -> dict[str, Any]:
    """The specification of a queue."""
    found: dict[str, Any] = {name: queue.document.get(key) for name, key in _OF_DOCUMENT.items()}
    return found | {
        "sitename": queue.name,
        "nickname": queue.name,
        "pandasite": queue.site,
        "cloud": queue.cloud,
        "type": queue.type,
        "status": queue.status,
        "ddm": queue.endpoint_in,
        "coreCount": queue.core_count,
        "corepower": queue.core_power,
        "maxrss": queue.max_rss,
        "capability": queue.capability,
        "workflow": queue.workflow,
        "is_unified": queue.type == "unified",
    }
