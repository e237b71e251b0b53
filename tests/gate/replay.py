"""Runs replayed from recorded distributions: whole results without a server, thousands an hour.

What was recorded (recorded.json: quantiles of real runs, each divided by its median) is drawn from again, request by request; a
server's habits are then laid over it. The percentiles and their errors are worked out by the product's own code.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.comparable import a_comparable, a_repetition
from tokenmark_schemas.result import RunResult

RECORDED_FILE = Path(__file__).parent / "recorded.json"


@cache
def recorded() -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = json.loads(RECORDED_FILE.read_text())
    return found


@dataclass(frozen=True)
class Habit:
    """How a server is not the same from one moment to the next. `of_repetition` gives a repetition's factor by its place in the whole
    experiment (0 to 5 for two runs of three), `of_request` a request's."""

    name: str
    of_repetition: Callable[[random.Random, int], float]
    of_request: Callable[[random.Random], float] = lambda _rng: 1.0


HABITS = (
    Habit("steady", lambda _rng, _k: 1.0),
    Habit("repetitions 0.5 % apart", lambda rng, _k: rng.lognormvariate(0, 0.005)),
    Habit("repetitions 2 % apart", lambda rng, _k: rng.lognormvariate(0, 0.02)),
    Habit("repetitions 6 % apart", lambda rng, _k: rng.lognormvariate(0, 0.06)),
    Habit("drift of 1 % a repetition", lambda rng, k: (1.01**k) * rng.lognormvariate(0, 0.003)),
    Habit("drift of 3 % a repetition", lambda rng, k: (1.03**k) * rng.lognormvariate(0, 0.003)),
    Habit("one slow repetition of six", lambda rng, k: 1.25 if k == rng.randrange(6) else 1.0),
    Habit("two speeds by request", lambda _rng, _k: 1.0, lambda rng: 1.6 if rng.random() < 0.4 else 1.0),
    Habit("two speeds by repetition", lambda rng, _k: rng.choice((1.0, 1.08))),
)  # fmt: skip


def a_pair(
    shape: str,
    habit: Habit,
    rng: random.Random,
    *,
    requests: int,
    repetitions: int = 3,
    shift: float = 1.0,
    metrics: tuple[str, ...] = ("ttft", "tpot"),
) -> tuple[RunResult, RunResult]:
    """Two runs of one server, the second one `shift` times as slow."""
    factors = [habit.of_repetition(rng, k) for k in range(2 * repetitions)]
    runs = []
    for name, own, slower in (("old", factors[:repetitions], 1.0), ("new", factors[repetitions:], shift)):
        reps = [
            a_repetition(
                k,
                {m: _drawn(recorded()[shape][m], habit, rng, requests, factor * slower) for m in metrics},
                rate=100 / factor / slower,
            )
            for k, factor in enumerate(own)
        ]
        runs.append(a_comparable(name, *reps))
    return runs[0], runs[1]


def _drawn(quantiles: list[float], habit: Habit, rng: random.Random, count: int, factor: float) -> list[float]:
    last = len(quantiles) - 1
    found = []
    for _ in range(count):
        at = rng.random() * last
        low = int(at)
        value = quantiles[low] + (at - low) * (quantiles[min(low + 1, last)] - quantiles[low])
        found.append(0.1 * factor * habit.of_request(rng) * value)
    return found


def quantiles_of(values: list[float], count: int = 401) -> list[float]:
    """For recorded.json: evenly spaced quantiles, as multiples of the median."""
    ordered = sorted(values)
    last = len(ordered) - 1
    middle = ordered[last // 2]
    picked = [ordered[round(last * k / (count - 1))] / middle for k in range(count)]
    return [round(value, 4) for value in picked]
