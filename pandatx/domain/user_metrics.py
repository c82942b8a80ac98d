"""What users have in the queues, and how much of the good ones they may still take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from pandatx.domain.site_metrics import GRID, RANKS

TOTAL: Final = "_total"
EVALUATED: Final = ("User Analysis", "Express Analysis")
"""The shares whose jobs count for a user."""
USUAL_A: Final = 1000
USUAL_B: Final = 8000
_WAITING: Final = ("defined", "assigned", "activated", "starting")
_KEYS: Final = ("nQueue", "nRunning", "slotsQueue", "slotsRunning")


@frozen(kw_only=True)
class UserJobs:
    """The jobs of a user of one status at a queue, in a share."""

    site: str
    share: str
    user: str
    status: str
    number: int
    cores: int


@frozen(kw_only=True)
class Thresholds:
    """Running slots on A sites, and on A and B sites together, that a user may have before being put behind."""

    a: int = USUAL_A
    b: int = USUAL_B


def users_jobs_stats(rows: Iterable[UserJobs]) -> dict[tuple[str, str], dict[str, dict[str, int]]]:
    """By queue and share: jobs and cores of each user and of all, waiting and running."""
    found: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for row in rows:
        of_pair = found.setdefault((row.site, row.share), {})
        for who in (row.user, TOTAL):
            counts = of_pair.setdefault(who, _nothing())
            names = [row.status.capitalize(), "Queue"] if row.status in _WAITING else []
            for name in ["Running"] if row.status == "running" else names:
                counts[f"n{name}"] += row.number
                counts[f"slots{name}"] += row.cores
    return found


def user_evaluation(
    stats: Mapping[tuple[str, str], Mapping[str, Mapping[str, int]]],
    classes: Mapping[str, Mapping[str, Any]],
    thresholds: Thresholds,
) -> dict[str, dict[str, Any]]:
    """By user: jobs and slots on grid sites of each class, and what is left of the thresholds."""
    users: dict[str, dict[str, Any]] = {}
    for (site, share), by_user in stats.items():
        of_site = classes.get(site)
        if share not in EVALUATED or of_site is None or of_site.get("resource_type") != GRID:
            continue
        rank = RANKS[of_site["class"]]
        for user, counts in by_user.items():
            if user != TOTAL:
                entry = users.setdefault(
                    user, {"user": user} | {name: dict.fromkeys(_KEYS, 0) for name in RANKS.values()}
                )
                for key in _KEYS:
                    entry[rank][key] += counts[key]
    for entry in users.values():
        running_a = entry["A_sites"]["slotsRunning"]
        left_a = max(thresholds.a - running_a, 0)
        left_b = max(thresholds.b - running_a - entry["B_sites"]["slotsRunning"], 0)
        entry |= {"rem_slots_A": left_a, "rem_slots_B": left_b}
        entry |= {"rem_slot_ratio_A": _part(left_a, thresholds.a), "rem_slot_ratio_B": _part(left_b, thresholds.b)}
    return users


def _nothing() -> dict[str, int]:
    names = [*(status.capitalize() for status in _WAITING), "Queue", "Running"]
    return {f"{kind}{name}": 0 for kind in ("n", "slots") for name in names}


def _part(left: int, of: int) -> float:
    return left / of if of > 0 else 0.0
