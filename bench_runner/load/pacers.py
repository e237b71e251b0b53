"""When requests are due in open loop: pure arithmetic over offsets in nanoseconds. No clock, no sleep, randomness seeded.

Random gaps have their mean at 1/rate whatever their spread; a ramp is the same gaps on a clock that runs faster and
faster, so that all four shapes ramp.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .phase import Phase

from .clock import NS


def constant(_rng: random.Random, _burstiness: float) -> Iterator[float]:
    """Equal gaps, from 0 on."""
    return (float(i) for i in itertools.count())


def poisson(rng: random.Random, _burstiness: float) -> Iterator[float]:
    """Exponential gaps: arrivals of many independent users."""
    return itertools.accumulate(rng.expovariate(1.0) for _ in itertools.count())


def gamma(rng: random.Random, burstiness: float) -> Iterator[float]:
    """Gamma gaps of that shape: 1 is Poisson, below comes in bursts, above is more even."""
    return itertools.accumulate(rng.gammavariate(burstiness, 1.0 / burstiness) for _ in itertools.count())


# arrivals in units of the mean gap: the n-th is due once the rate, integrated over time, has reached it
PACERS: dict[str, Callable[[random.Random, float], Iterator[float]]] = {
    "Constant": constant,
    "Poisson": poisson,
    "Gamma": gamma,
}


def offsets_of(phase: Phase) -> Iterator[int]:
    """Nanoseconds from the phase's start: a recorded trace, or the pacer's arrivals at the phase's rate."""
    if phase.offsets is not None:
        return iter(phase.offsets)
    rate = phase.rate_per_s or 1.0
    arrivals = PACERS[phase.arrival](random.Random(f"arrivals:{phase.seed}"), phase.burstiness)
    if phase.ramp_to_per_s is None or phase.duration_ns is None:
        return (round(n * NS / rate) for n in arrivals)
    slope = (phase.ramp_to_per_s - rate) / (phase.duration_ns / NS)
    return itertools.takewhile(lambda at: at >= 0, (ramped(n, rate, slope) for n in arrivals))


def ramped(n: float, rate: float, slope: float) -> int:
    """When a rate that starts at `rate` and changes by `slope` a second has reached n requests; -1 if it never does.

    Solves rate·t + slope·t²/2 = n for the first t ≥ 0.
    """
    if not slope:
        return round(n * NS / rate)
    root = rate * rate + 2 * slope * n
    return -1 if root < 0 else round(2 * n * NS / (rate + math.sqrt(root)))
