"""Percentiles and summaries of exact values (pure).

Percentiles: linear interpolation between closest ranks. One with fewer than 5 samples above it is withheld.
Intervals are bootstrapped over repetitions and requests (see `bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokenmark_decisions.distribution import SAMPLES_ABOVE, Distribution
from tokenmark_schemas.result import Stat

from .bootstrap import bootstrap
from .clusters import Clusters

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def percentile(ordered: Sequence[float], q: float) -> float:
    """q in [0, 1] of values in ascending order; raises ValueError on none."""
    if not ordered:
        raise ValueError("no values have no percentile")
    return percentile_of(ordered, q * (len(ordered) - 1))


def percentile_of(ordered: Sequence[float], rank: float) -> float:
    """The value at a rank from 0 on, between two values linearly."""
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def highest_of(count: int) -> float:
    """The highest percentile, as a share and p99 at most, that enough of so many samples lie above."""
    return min(0.99, max(0.5, 1 - SAMPLES_ABOVE / count)) if count else 0.5


def enough_for(count: int, q: float) -> bool:
    """True when at least 5 of `count` samples lie above the quantile."""
    return round(count * (1 - q), 9) >= SAMPLES_ABOVE


def standard_error(ordered: Sequence[float], q: float, clusters: Clusters | None = None) -> float:
    """Of the q-quantile of values in ascending order, from the values that lie one standard deviation of a share to either
    side of it (Woodruff 1952). Of many values a request, `clusters` tells how many independent ones they are worth."""
    effect = clusters.design_effect(percentile(ordered, q)) if clusters is not None else 1.0
    off = math.sqrt(q * (1 - q) * max(1.0, effect or 1.0) / len(ordered))
    low, high = max(0.0, q - off), min(1.0, q + off)
    return (percentile(ordered, high) - percentile(ordered, low)) / 2


def stat(values: Distribution, unit: str) -> Stat:
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
        withheld=[name for name in QUANTILES if name not in shown],
        **shown,
    )


def inclusive(values: Distribution, unit: str, lost: int) -> Stat:
    """The same over all requests that were due: those without an answer count as infinitely slow. A percentile that falls
    among them is named in `infinite`; mean and spread would be infinite and are left out."""
    ordered, n = values.ordered(), values.count + lost
    shown: dict[str, float] = {}
    beyond: list[str] = []
    for name, q in QUANTILES.items():
        if not enough_for(n, q):
            continue
        if math.ceil(q * (n - 1)) < len(ordered):
            shown[name] = percentile_of(ordered, q * (n - 1))
        else:
            beyond.append(name)
    least = values.extremes
    withheld = [name for name in QUANTILES if name not in shown and name not in beyond]
    return Stat(
        unit=unit, count=n, precision="exact" if values.exact else "three_digits", min=least[0] if least else None,
        withheld=withheld, infinite=beyond, **shown,
    )  # fmt: skip


def with_intervals(summary: Stat, parts: Sequence[Distribution], seed: int, clusters: Clusters | None = None) -> Stat:
    """The same with bootstrap intervals of p50 and p99, and how far the repetitions lie apart. Of values of which a request
    has many, `clusters` tells how much they go together: where they are worth too few independent ones, there is no interval."""
    ordered = [part.ordered() for part in parts if part.count]
    found: dict[str, object] = {}
    for name in ("p50", "p99"):
        if getattr(summary, name) is None:
            continue
        effect = clusters.design_effect(getattr(summary, name)) if clusters is not None else 1.0
        if effect is not None and enough_for(round(summary.count / max(1.0, effect)), QUANTILES[name]):
            found[f"ci95_{name}"] = bootstrap(ordered, QUANTILES[name], seed, max(1.0, effect))
        own = sorted(percentile(part, QUANTILES[name]) for part in ordered)
        middle = percentile(own, 0.5)
        if len(own) > 1 and middle:
            found[f"spread_{name}"] = (own[-1] - own[0]) / middle
    return summary.model_copy(update=found)


def bounded(summary: Stat, lowest: Distribution, highest: Distribution) -> Stat:
    """The same with the interval that p50 and p99 lie in, where stamps were shared."""
    low, high = lowest.ordered(), highest.ordered()
    between = {
        f"bounds_{name}": (percentile(low, QUANTILES[name]), percentile(high, QUANTILES[name]))
        for name in ("p50", "p99")
        if getattr(summary, name) is not None
    }
    return summary.model_copy(update=between)
