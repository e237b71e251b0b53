"""Where a series of comparable runs moved (pure): candidates that somebody proposes, each kept only if the gate's own rule
would call the runs before it and after it different.

Candidates are taken away one by one, the least certain first, until every one left is a change by the minimum effect that
chance does less often than the limit, all of them together (Holm); so does Otava, once Hunter (Fleming and others, Hunter:
Using Change Point Detection to Hunt for Performance Regressions, ICPE 2023), with its t test in the place of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .two_level import Difference, Side, holm

FALSE_ALARMS = 0.01
LEAST_RUNS = 2  # on either side of a change: one run alone may be off by itself


@dataclass(frozen=True)
class Change:
    """Between runs `at` - 1 and `at` of the series: geometric means of the runs on either side up to the next changes, the
    change as a share of the one before with its 95 % interval, and how often chance does so much, of all changes together."""

    at: int
    before: float
    after: float
    change: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Point:
    """`source` is what `compare` takes."""

    source: str
    at: str
    value: float


@dataclass(frozen=True)
class Series:
    """Runs of one fingerprint and one stage."""

    workload: str
    model: str
    provider: str
    fingerprint: str
    stage: str
    points: list[Point]
    changes: list[Change]


def confirmed(values: Sequence[float], candidates: Sequence[int], minimum_effect: float) -> list[Change]:
    """`values` above zero, in order of time; `candidates` are places where the series may have moved."""
    left = sorted({at for at in candidates if LEAST_RUNS <= at <= len(values) - LEAST_RUNS})
    logs = [math.log(value) for value in values]
    while left:
        steps = _steps(logs, left)
        chances = _chances(steps)
        doubtful = [
            (chance, -abs(step.estimate), at)
            for at, step, chance in zip(left, steps, chances, strict=True)
            if chance > FALSE_ALARMS or abs(math.expm1(step.estimate)) < minimum_effect
        ]
        if not doubtful:
            return [_change(*each) for each in zip(left, steps, chances, strict=True)]
        left.remove(max(doubtful)[2])
    return []


def _steps(logs: Sequence[float], places: Sequence[int]) -> list[Difference]:
    segments = [logs[begin:end] for begin, end in pairwise([0, *places, len(logs)])]
    return [Difference(_side(old), _side(new)) for old, new in pairwise(segments)]


def _chances(steps: Sequence[Difference]) -> list[float]:
    """Two-sided. A candidate is the best of all the places that there were between its neighbours, and each of them was a
    chance to be wrong (Bonferroni); of several candidates, Holm."""
    found = []
    for step in steps:
        below = step.below(0.0)
        tried = len(step.baseline.values) + len(step.current.values) - 2 * LEAST_RUNS + 1
        found.append(min(1.0, 2 * min(below, 1 - below) * tried))
    return holm(found)


def _change(at: int, step: Difference, chance: float) -> Change:
    low, high = step.interval()
    return Change(
        at,
        math.exp(step.baseline.mean),
        math.exp(step.current.mean),
        math.expm1(step.estimate),
        math.expm1(low),
        math.expm1(high),
        chance,
    )


def _side(values: Sequence[float]) -> Side:
    """What a run's own requests leave open is a part of how far runs lie apart."""
    return Side(values, [0.0] * len(values))
