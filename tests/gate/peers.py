"""What a plain bootstrap of repetitions and requests would say of the same pairs: the usual way, for comparison."""

from __future__ import annotations

import math
import random

from tokenmark_schemas.result import RunResult

BOOTSTRAP = "bootstrap of both, any effect"
RESAMPLES = 400
LINES = (("ttft", "p50"), ("ttft", "p99"), ("tpot", "p50"), ("tpot", "p99"))


def bootstrap_alarms(old: RunResult, new: RunResult) -> bool:
    """Whether any of the four lines is worse in 99 % of the resamples, by Bonferroni: repetitions are drawn with replacement,
    and each one's percentile about its value by its standard error."""
    rng = random.Random(old.run.name)
    return any(_worse(old, new, metric, name, rng) for metric, name in LINES)


def _worse(old: RunResult, new: RunResult, metric: str, name: str, rng: random.Random) -> bool:
    sides = []
    for run in (old, new):
        found = [rep.metrics[metric] for rep in run.stages[0].repetitions]
        pairs = [(getattr(each, name), getattr(each, f"se_{name}")) for each in found]
        sides.append([(math.log(value), error / value) for value, error in pairs])
    not_worse = sum(_drawn(sides[1], rng) <= _drawn(sides[0], rng) for _ in range(RESAMPLES))
    return not_worse / RESAMPLES <= 0.01 / len(LINES)


def _drawn(side: list[tuple[float, float]], rng: random.Random) -> float:
    return sum(rng.gauss(*rng.choice(side)) for _ in side) / len(side)
