"""How long analysis jobs wait at each queue, and the class that a queue gets for it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from pandatx.domain.quantiles import quantile, student_quantile, weighted

LONGEST: Final = 999999.0
CONFIDENCE: Final = 0.95
HALF_LIFE: Final = 12 * 3600.0
"""Seconds after which the wait of a job that started counts half."""
SHORT_WAIT: Final = 3600.0
LONG_WAIT: Final = 10800.0
FEW: Final = 3
"""So few long-waiting jobs do not spoil a queue's class."""
GRID: Final = "GRID"
A, B, C = 1, 0, -1
RANKS: Final = {A: "A_sites", B: "B_sites", C: "C_sites"}


@frozen(kw_only=True)
class Wait:
    """A job that waited ``waited`` seconds between activated and running, and started ``age`` seconds ago."""

    waited: float
    age: float


@frozen(kw_only=True)
class LongQueue:
    """The jobs that wait longer than the mean: how many, and their mean wait in seconds."""

    number: int
    mean: float


def wait_statistics(waits: Sequence[Wait]) -> dict[str, Any]:
    """Of one queue with at least one wait; seconds. What too few waits cannot tell is None."""
    values = [wait.waited for wait in waits]
    weights = [2 ** (-wait.age / HALF_LIFE) for wait in waits]
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    weight = sum(weights)
    w_mean, w_deviation = weighted(values, weights) if weight > 0 else (None, None)
    return {
        "n": len(values),
        "mean": mean,
        "stdev": deviation,
        "med": statistics.median(values),
        "cl95upp": _upper(len(values) - 1, mean, deviation),
        "sum_of_weights": weight,
        "w_mean": w_mean,
        "w_stdev": w_deviation,
        "w_cl95upp": None if w_mean is None or w_deviation is None else _upper(weight, w_mean, w_deviation),
    }


def with_long_queue(found: Mapping[str, Any], queue: LongQueue | None) -> dict[str, Any]:
    """The statistics of a queue, and what waits there now for longer than its mean."""
    if not found["w_mean"]:
        return {**found, "long_q_n": None, "long_q_mean": None}
    if queue is None or not queue.mean:
        return {**found, "long_q_n": 0, "long_q_mean": found["w_mean"]}
    return {**found, "long_q_n": queue.number, "long_q_mean": queue.mean}


def site_classes(
    waits: Mapping[str, Mapping[str, Any]],
    resource_types: Mapping[str, str],
    started: Mapping[str, tuple[float, float]],
) -> dict[str, dict[str, Any]]:
    """The class of each queue: A where jobs start soon, C where they wait, B between. ``started`` are cores an hour
    that have come to run, in the last six hours and in the last day.
    """
    known = {site: found for site, found in waits.items() if _ranking(found) is not None}
    on_grid = [_ranking(found) or 0.0 for site, found in known.items() if resource_types.get(site) == GRID]
    short = max(quantile(on_grid, 0.333) or 0.0, SHORT_WAIT)
    long = max(quantile(on_grid, 0.667) or 0.0, LONG_WAIT)
    classes = {}
    for site, found in known.items():
        six_hours, day = started.get(site, (0.0, 0.0))
        ranking = _ranking(found) or 0.0
        soon = ranking <= short or (found["w_cl95upp"] <= short and found["long_q_n"] <= FEW)
        its_class = A if soon and day > 0 else C if ranking > long else B
        kind = resource_types.get(site) or None
        classes[site] = {"resource_type": kind, "strr_6h": six_hours, "strr_1d": day, "class": its_class}
    return classes


def _upper(degrees: float, mean: float, deviation: float) -> float | None:
    if degrees <= 0 or deviation <= 0:
        return None
    return min(mean + deviation * student_quantile(CONFIDENCE, degrees), LONGEST)


def _ranking(found: Mapping[str, Any]) -> float | None:
    upper, long = found.get("w_cl95upp"), found.get("long_q_mean")
    return None if upper is None or long is None else max(upper, long)
