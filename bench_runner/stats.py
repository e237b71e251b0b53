"""Percentiles and summaries of exact values (pure).

Percentiles: linear interpolation between closest ranks. One with fewer than 5 samples above it is withheld.
Intervals: 95 % from the order statistics (binomial, normal approximation), which assumes no distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokenmark_schemas.result import Stat

from .values import Values

SAMPLES_ABOVE = 5
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def percentile(ordered: Sequence[float], q: float) -> float:
    """q in [0, 1] of values in ascending order; raises ValueError on none."""
    if not ordered:
        raise ValueError("no values have no percentile")
    rank = q * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def enough_for(count: int, q: float) -> bool:
    """True when at least 5 of `count` samples lie above the quantile."""
    return round(count * (1 - q), 9) >= SAMPLES_ABOVE


def needed_for(q: float) -> int:
    """Samples a quantile needs."""
    return math.ceil(round(SAMPLES_ABOVE / (1 - q), 6))


def interval(ordered: Sequence[float], q: float) -> tuple[float, float] | None:
    """95 % confidence interval of a quantile from order statistics; None where the ranks leave the sample."""
    n = len(ordered)
    spread = 1.96 * math.sqrt(n * q * (1 - q))
    low, high = math.floor(n * q - spread), math.ceil(n * q + spread)
    return (ordered[low], ordered[high]) if low >= 0 and high < n else None


def stat(values: Values, unit: str) -> Stat:
    """Summary of all values of one metric."""
    ordered, n = values.ordered(), values.count
    extremes = values.extremes
    if extremes is None:
        return Stat(unit=unit, count=0, withheld=list(QUANTILES))
    shown = {name: percentile(ordered, q) for name, q in QUANTILES.items() if enough_for(n, q)}
    return Stat(
        unit=unit,
        count=n,
        precision="exact" if values.exact else "three_digits",
        mean=values.mean,
        stddev=values.stddev,
        min=extremes[0],
        max=extremes[1],
        ci95_p50=interval(ordered, 0.5) if "p50" in shown else None,
        ci95_p99=interval(ordered, 0.99) if "p99" in shown else None,
        withheld=[name for name in QUANTILES if name not in shown],
        **shown,
    )


def bounded(summary: Stat, lowest: Values, highest: Values) -> Stat:
    """The same with the interval that p50 and p99 lie in, where stamps were shared."""
    low, high = lowest.ordered(), highest.ordered()
    between = {
        f"bounds_{name}": (percentile(low, QUANTILES[name]), percentile(high, QUANTILES[name]))
        for name in ("p50", "p99")
        if getattr(summary, name) is not None
    }
    return summary.model_copy(update=between)
