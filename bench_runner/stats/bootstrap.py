"""95 % intervals of percentiles by bootstrap, over repetitions and the requests within them (pure, seeded).

A resample draws repetitions with replacement, then requests within each. What the requests add is drawn without
copying any: the q-quantile of a resample of n values is their order statistic at a rank distributed as
n·Beta(q(n+1), (1−q)(n+1)) (Efron and Tibshirani 1993, chapter 13; the smooth form is Hutson and Ernst 2000). So a
resample costs a few searches in sorted lists, whatever the sample's size.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence

RESAMPLES = 300
ROUNDS = 60  # from any two floats to the tolerance, but where the answer is nought
TOLERANCE = 1e-4  # of the value: far below what an interval of noise is known to


def bootstrap(
    parts: Sequence[Sequence[float]], q: float, seed: int, design_effect: float = 1.0
) -> tuple[float, float] | None:
    """Interval of the q-quantile of what the ordered `parts` (one a repetition) hold together; None without values.

    So many values count as that many independent ones divided by `design_effect` (see `clusters`).
    """
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    rng = random.Random(f"bootstrap:{seed}:{q}")
    found = sorted(_resampled(parts, q, rng, design_effect) for _ in range(RESAMPLES))
    return found[round(0.025 * (RESAMPLES - 1))], found[round(0.975 * (RESAMPLES - 1))]


def _resampled(parts: Sequence[Sequence[float]], q: float, rng: random.Random, design_effect: float) -> float:
    drawn = rng.choices(parts, k=len(parts))
    count = sum(len(part) for part in drawn) / design_effect
    return quantile_of(drawn, rng.betavariate(q * (count + 1), (1 - q) * (count + 1)))


def quantile_of(parts: Sequence[Sequence[float]], q: float) -> float:
    """The smallest value with a share of at least q at or below it, in several ordered lists, by bisection."""
    rank = q * sum(len(part) for part in parts)
    low, high = min(part[0] for part in parts), max(part[-1] for part in parts)
    if len(parts) == 1:
        return parts[0][min(len(parts[0]) - 1, int(rank))]
    for _ in range(ROUNDS):
        if high - low <= TOLERANCE * abs(high):
            break
        middle = (low + high) / 2
        if sum(bisect_right(part, middle) for part in parts) >= rank:
            high = middle
        else:
            low = middle
    return high
