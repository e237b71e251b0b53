"""Which of several runs is cheapest, and which are a tie (pure): by $ per million output tokens, pair by pair.

A price per million is an hour's price over a throughput, so the ratio of two prices per million is as uncertain as that of the two
throughputs. Neighbours are a tie where it is not known which is cheaper (two sides, 5 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from tokenmark_schemas.cost import RunCost
from tokenmark_schemas.result import RunResult, StageResult

from .two_level import Difference, Side

TIE = 0.025


@dataclass(frozen=True)
class Place:
    """`tied` with the one before it."""

    source: str
    stage: str
    price: Decimal
    currency: str
    tied: bool
    share_above_first: float


def ranked(runs: Sequence[tuple[str, RunResult, RunCost]]) -> list[Place]:
    """Each by its cheapest stage; those without one are left out."""
    known = [(source, *best, cost) for source, result, cost in runs if (best := _cheapest(result, cost)) is not None]
    known.sort(key=lambda entry: entry[2])
    places: list[Place] = []
    for number, (source, stage, price, cost) in enumerate(known):
        tied = number > 0 and not _known_apart(known[number - 1], known[number])
        places.append(Place(source, stage.name, price, cost.currency, tied, float(price / known[0][2]) - 1))
    return places


def _cheapest(result: RunResult, cost: RunCost) -> tuple[StageResult, Decimal] | None:
    best = cost.cheapest
    if best is None or best.per_million_output_tokens is None:
        return None
    return next(stage for stage in result.stages if stage.name == best.stage), best.per_million_output_tokens


def _known_apart(
    first: tuple[str, StageResult, Decimal, RunCost], second: tuple[str, StageResult, Decimal, RunCost]
) -> bool:
    sides = [_side(stage, cost) for _, stage, _, cost in (first, second)]
    if any(len(side.values) < 2 for side in sides):
        return False
    return Difference(*sides).below(0.0) <= TIE


def _side(stage: StageResult, cost: RunCost) -> Side:
    """Logarithms of the price per million of each repetition."""
    hour = float(cost.price.per_hour)
    rates = [rep.output_tokens_per_s for rep in stage.repetitions]
    values = [math.log(hour / rate) for rate in rates if rate]
    return Side(values, [0.0] * len(values))
