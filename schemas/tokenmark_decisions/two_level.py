"""How far sides lie apart, from few repetitions with many requests in each (pure, no chance in it).

A repetition's value is its side's own plus what repetitions differ by (variance t, of both sides alike, unknown) plus what its
requests leave open (variance w, known well from their number). Three values a side say little of t, the requests nothing at
all, so t is not estimated but averaged over: its posterior under the prior 1/(w + t) of Hill (1965) and of Box and Tiao
(Bayesian Inference in Statistical Analysis, 1973, chapter 5), on a grid. Where requests explain all the spread, the answer comes close to
the normal one of many requests; where they explain none, it is Student's t of the repetitions. A plain bootstrap of repetitions
and requests takes the spread of three values for the truth and is too sure (docs/gate.md has both, measured).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

STEPS = 160
DECADES = 8  # of the variance, over which its posterior is followed
LEAST_SE = 1e-5  # what no repetition is known better than, whatever its values say: a clock's own steps


@dataclass(frozen=True)
class Side:
    """One value a repetition, and the standard error that its requests leave it with; 0 where that is not known."""

    values: Sequence[float]
    errors: Sequence[float]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @property
    def within(self) -> float:
        """Variance of a repetition's value from its requests."""
        return math.fsum(error * error for error in self.errors) / len(self.errors) + LEAST_SE**2

    @property
    def squares(self) -> float:
        return sum((value - self.mean) ** 2 for value in self.values)


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of the sides' means. Probabilities and intervals are of its posterior."""

    sides: tuple[Side, ...]
    weights: tuple[float, ...]

    @property
    def estimate(self) -> float:
        return math.fsum(weight * side.mean for weight, side in zip(self.weights, self.sides, strict=True))

    @property
    def freedom(self) -> int:
        return sum(len(side.values) - 1 for side in self.sides)

    @cached_property
    def _mixture(self) -> list[tuple[float, float]]:
        """(weight, standard deviation of the sum) over the grid of t."""
        within = math.fsum(side.within for side in self.sides) / len(self.sides)
        spread = math.fsum(side.squares for side in self.sides) / self.freedom if self.freedom else 0.0
        top = math.log(max(within, spread)) + DECADES * math.log(10) if self.freedom else math.log(within)
        step = (top - math.log(within)) / STEPS
        found = []
        for k in range(STEPS + 1 if self.freedom else 1):
            between = math.exp(math.log(within) + k * step) - within
            loglike = -math.fsum(
                (len(side.values) - 1) / 2 * math.log(side.within + between)
                + side.squares / (2 * (side.within + between))
                for side in self.sides
            )
            found.append((loglike, self._deviation(between)))
        most = max(loglike for loglike, _ in found)
        weights = [math.exp(loglike - most) for loglike, _ in found]
        weights[0] /= 2 if len(weights) > 1 else 1  # trapezium rule
        total = math.fsum(weights)
        return [(weight / total, sd) for weight, (_, sd) in zip(weights, found, strict=True) if weight > 1e-12 * total]

    def _deviation(self, between: float) -> float:
        parts = zip(self.weights, self.sides, strict=True)
        return math.sqrt(math.fsum(weight**2 * (side.within + between) / len(side.values) for weight, side in parts))

    def below(self, value: float) -> float:
        """P(sum < value)."""
        return math.fsum(weight * _normal((value - self.estimate) / sd) for weight, sd in self._mixture)

    def interval(self, coverage: float = 0.95) -> tuple[float, float]:
        """Symmetric about the estimate, as the posterior is."""
        target = (1 + coverage) / 2
        low, high = 0.0, max(sd for _, sd in self._mixture) * 40
        for _ in range(80):
            middle = (low + high) / 2
            if self.below(self.estimate + middle) < target:
                low = middle
            else:
                high = middle
        return self.estimate - high, self.estimate + high

    @cached_property
    def between(self) -> float:
        """Variance between repetitions beyond what their requests explain, as moments have it: for plans, not for judgements."""
        if not self.freedom:
            return 0.0
        excess = math.fsum(side.squares - (len(side.values) - 1) * side.within for side in self.sides)
        return max(0.0, excess / self.freedom)


class Difference(Contrast):
    """Current less baseline."""

    def __init__(self, baseline: Side, current: Side) -> None:
        super().__init__((baseline, current), (-1.0, 1.0))

    @property
    def baseline(self) -> Side:
        return self.sides[0]

    @property
    def current(self) -> Side:
        return self.sides[1]


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for being several, each in its place (Holm 1979): any of them wrong by chance at most as often as told."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, worst = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = worst
    return adjusted
