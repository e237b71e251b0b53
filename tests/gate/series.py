"""Change points over series of runs whose level is known: how often one is seen where nothing moved, and found where it did."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from bench_runner.index.trend import candidates
from tokenmark_decisions.changes import confirmed

SPREAD = 0.03  # of a run's median, from run to run
LENGTHS = (4, 8, 15, 30)
SHIFTS = (1.03, 1.06, 1.10)


def places(values: Sequence[float], effect: float = 0.05) -> list[int]:
    return [change.at for change in confirmed(values, candidates(values), effect)]


def a_series(rng: random.Random, levels: Sequence[tuple[int, float]], spread: float) -> list[float]:
    return [level * rng.lognormvariate(0, spread) for count, level in levels for _ in range(count)]


def series_table(trials: int) -> Iterator[str]:
    """Rows of docs/gate.md."""
    yield (
        "| runs | a change where nothing moved, 5 % | of any size | "
        + " | ".join(f"+{100 * (by - 1):.0f} % in the middle" for by in SHIFTS)
        + " |"
    )
    yield "|---|---:|---:|" + "---:|" * len(SHIFTS)
    for runs in LENGTHS:
        rng = random.Random(f"series {runs}")
        still = [a_series(rng, [(runs, 1.0)], SPREAD) for _ in range(trials)]
        alarms = [sum(bool(places(values, effect)) for values in still) for effect in (0.05, 0.0)]
        found = []
        for by in SHIFTS:
            moved = [a_series(rng, [(runs // 2, 1.0), (runs - runs // 2, by)], 0.01) for _ in range(trials)]
            found.append(sum(places(values, 0.03) == [runs // 2] for values in moved))
        cells = [
            *(f"{100 * count / trials:.1f} %" for count in alarms),
            *(f"{100 * count / trials:.0f} %" for count in found),
        ]
        yield f"| {runs} | " + " | ".join(cells) + " |"
