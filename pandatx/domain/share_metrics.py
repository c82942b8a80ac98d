"""gshare_preference: how each global share stands against its pledge, as brokers of JEDI read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from pandatx.domain.shares import Share, ShareTree

NONE_PLEDGED: Final = 999999
"""Stands for a ratio to nothing."""
IDLE: Final = 0.85
"""A top share that uses less of its pledge lends the rest to the busy ones."""


@frozen(kw_only=True)
class Use:
    """HS of a share's jobs: those that run, and those that wait."""

    running: float = 0.0
    queuing: float = 0.0


def gshare_preference(tree: ShareTree, ranks: Mapping[str, int], use: Mapping[str, Use]) -> dict[str, dict[str, Any]]:
    """By share, and by ``L1 NAME`` for each at the top of the tree. Targets are parts of what runs in all."""
    total = sum(each.running for each in use.values())
    last = len(ranks) + 1
    ordered = sorted(tree.leaves, key=lambda leaf: (ranks.get(leaf.name, last), leaf.name))
    leaves = {}
    for rank, leaf in enumerate(ordered, start=1):
        used = use.get(leaf.name, Use())
        values = _standing(leaf.name, used.running, used.queuing, total * leaf.pledge, total)
        leaves[leaf.name] = values | {"rank": rank, "proj_target_hs": 0, "eqiv_target_hs": 0, "eqiv_usage_perc": 0}
    tops = {f"L1 {share.name}": _top(share, leaves, total) for share in tree.roots}
    _lend(tops.values(), total)
    return leaves | tops


def _standing(name: str, running: float, queuing: float, target: float, total: float) -> dict[str, Any]:
    return {
        "gshare": name,
        "queuing_hs": queuing,
        "running_hs": running,
        "target_hs": target,
        "usage_perc": _ratio(running, target),
        "queue_perc": _ratio(queuing, target),
        "norm_usage_perc": _ratio(running, total),
        "norm_queue_perc": _ratio(queuing, total),
        "norm_target_perc": _ratio(target, total),
    }


def _top(share: Share, leaves: Mapping[str, dict[str, Any]], total: float) -> dict[str, Any]:
    below = [leaves[leaf.name] for leaf in ShareTree((share,)).leaves]
    running, queuing, target = (sum(each[key] for each in below) for key in ("running_hs", "queuing_hs", "target_hs"))
    projected = min(target, max(running, queuing / 2))
    return _standing(f"L1 {share.name}", running, queuing, target, total) | {"rank": -1, "proj_target_hs": projected}


def _lend(tops: Iterable[dict[str, Any]], total: float) -> None:
    """What idle top shares leave is added to the targets of the busy ones, in proportion."""
    tops = list(tops)
    left = total - sum(top["proj_target_hs"] for top in tops)
    idle = [top for top in tops if top["usage_perc"] < IDLE and top["proj_target_hs"] < top["target_hs"]]
    busy_hs = sum(top["target_hs"] for top in tops if top not in idle) + 1
    for top in tops:
        if top in idle:
            top |= {"eqiv_target_hs": top["target_hs"], "eqiv_usage_perc": top["usage_perc"]}
        else:
            target = top["target_hs"] + left * top["target_hs"] / busy_hs
            top |= {"eqiv_target_hs": target, "eqiv_usage_perc": _ratio(top["running_hs"], target)}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else NONE_PLEDGED
