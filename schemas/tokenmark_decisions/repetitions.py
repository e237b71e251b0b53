"""What repetitions say of a number: their median, and an interval that three of them cannot give (pure)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb

from tokenmark_schemas.result import Rerun, StageResult

ENOUGH = 6  # (1/2)^5 of six values lie on one side of the median: the fewest whose extremes cover it with 95 %
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Repeated:
    """A median over repetitions. `low` and `high` are its 95 % interval, None of fewer than ENOUGH; `spread` is
    (highest - lowest) / median."""

    value: float
    low: float | None
    high: float | None
    count: int
    spread: float | None


def repeated(values: Sequence[float]) -> Repeated:
    """`values` holds one number a repetition, at least one.

    The interval is distribution-free: the narrowest pair of order statistics k and n+1-k whose coverage
    1 - 2·P(Binomial(n, 1/2) < k) is at least 95 % (David and Nagaraja, Order Statistics, 2003, 7.1)."""
    ordered, count = sorted(values), len(values)
    middle = statistics.median(ordered)
    rank = _rank(count)
    spread = (ordered[-1] - ordered[0]) / middle if middle and count > 1 else None
    if rank is None:
        return Repeated(middle, None, None, count, spread)
    return Repeated(middle, ordered[rank - 1], ordered[count - rank], count, spread)


def _rank(count: int) -> int | None:
    outside, rank = 0.0, None
    for k in range(1, count // 2 + 1):
        outside += comb(count, k - 1) / 2**count
        if 1 - 2 * outside < CONFIDENCE:
            break
        rank = k
    return rank


OUTLYING = 3.5
ENOUGH_TO_JUDGE = 5
LEAST_APART = 0.01  # of the median: repetitions that agree to a per cent have no outlier that anybody needs to know


def outlying(values: Sequence[float]) -> list[int]:
    """Places of values that lie apart from the others: modified z score 0.6745·|x − median| / MAD above 3.5 (Iglewicz and
    Hoaglin, How to Detect and Handle Outliers, 1993), and a per cent of the median at least. None of fewer than five."""
    if len(values) < ENOUGH_TO_JUDGE:
        return []
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    return [
        place
        for place, value in enumerate(values)
        if 0.6745 * abs(value - middle) > OUTLYING * spread and abs(value - middle) > LEAST_APART * abs(middle)
    ]


@dataclass(frozen=True)
class Apart:
    """A repetition, by its place from 0, whose median lies apart from the others'."""

    place: int
    metric: str
    value: float
    median: float


def apart(stage: StageResult) -> Iterator[Apart]:
    """By TTFT and TPOT; a stage of which a repetition lacks a value has none that lies apart."""
    for metric in ("ttft", "tpot"):
        values = [rep.metrics[metric].p50 for rep in stage.repetitions if metric in rep.metrics]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            middle = statistics.median(known) if known else 0.0
            yield from (Apart(place, metric, known[place], middle) for place in outlying(known))


def said(rerun: Rerun) -> str:
    """In words, values in milliseconds."""
    again = f"; {1000 * rerun.again:.4g} ms then" if rerun.again is not None else ""
    return (
        f"repetition {rerun.repetition} at {rerun.stage} lay apart and was measured again: {rerun.metric} "
        f"{1000 * rerun.value:.4g} ms where the median was {1000 * rerun.median:.4g} ms{again}"
    )
