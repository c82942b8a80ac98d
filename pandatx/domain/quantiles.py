"""A little statistics: quantiles of Student's t and of samples, weighted means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_STEPS: Final = 300
_TINY: Final = 1e-300
_EXACT: Final = 1e-13


def student_quantile(probability: float, degrees: float) -> float:
    """The value that Student's t stays below with ``probability``, from 0.5 to less than 1; ``degrees`` above 0."""
    low, high = 0.0, 1.0
    while student_below(high, degrees) < probability and high < 1e12:
        low, high = high, high * 2
    for _ in range(200):
        middle = (low + high) / 2
        if student_below(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def student_below(value: float, degrees: float) -> float:
    """With which probability Student's t is below ``value``, from 0 on."""
    return 1 - 0.5 * _beta_below(degrees / (degrees + value * value), degrees / 2, 0.5)


def _beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_below(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / a / _continued(x, a, b)


def _continued(x: float, a: float, b: float) -> float:
    """The continued fraction 1 + d1/(1 + d2/(1 + ...)) of the incomplete beta function, from the front."""
    value = upper = 1.0
    lower = 0.0
    for step in range(1, _STEPS):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / ((1 + term * lower) or _TINY)
        upper = (1 + term / upper) or _TINY
        value *= upper * lower
        if abs(upper * lower - 1) < _EXACT:
            break
    return value


def quantile(values: Sequence[float], part: float) -> float | None:
    """The value below which ``part`` of the values are, between two of them in proportion; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def weighted(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; the weights have a sum above 0."""
    whole = sum(weights)
    mean = sum(value * weight for value, weight in zip(values, weights, strict=True)) / whole
    spread = sum(weight * (value - mean) ** 2 for value, weight in zip(values, weights, strict=True)) / whole
    return mean, math.sqrt(spread)
