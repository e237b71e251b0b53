"""All values of one metric in bounded memory.

Exact up to EXACT values; beyond that a logarithmic histogram with three significant digits, as HDR histograms have: the
bucket of a value is the top of its 32-bit float, so that sorting a million of them costs no arithmetic per value. Which
of the two a statistic came from is part of the result (`Stat.precision`), and histograms of several workers add up.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

EXACT = 131_072
SAMPLES_ABOVE = 5  # a percentile with fewer is withheld
_DROPPED_BITS = 13  # of a float's 23: a bucket is 1/1024 of its value wide


def needed_for(q: float) -> int:
    """Samples a quantile needs."""
    return math.ceil(round(SAMPLES_ABOVE / (1 - q), 6))


def _buckets(values: Iterable[float]) -> list[int]:
    return [bits >> _DROPPED_BITS for bits in memoryview(array("f", values)).cast("B").cast("I")]


def _middle(bucket: int) -> float:
    if not bucket:
        return 0.0
    bits = array("I", [(bucket << _DROPPED_BITS) | (1 << (_DROPPED_BITS - 1))])
    return memoryview(bits).cast("B").cast("f")[0]


class Ranked(Sequence[float]):
    """A histogram read as the ordered values it stands for."""

    def __init__(self, bins: Counter[int]) -> None:
        pairs = sorted((_middle(bucket), count) for bucket, count in bins.items())
        self._values = [value for value, _ in pairs]
        self._upto = list(accumulate(count for _, count in pairs))

    def __len__(self) -> int:
        return self._upto[-1] if self._upto else 0

    def __getitem__(self, rank: int) -> float:  # type: ignore[override]
        rank = rank if rank >= 0 else len(self) + rank
        if not 0 <= rank < len(self):
            raise IndexError(rank)
        return self._values[bisect_right(self._upto, rank)]


class Distribution:
    """Add, merge, then read `ordered()`. Mean, spread and extremes are exact in both forms."""

    __slots__ = ("_bins", "_exact", "_high", "_low", "_pivot", "_squares", "_total", "count")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.count = 0
        self._exact = array("d")
        self._bins: Counter[int] | None = None
        self._total = self._squares = self._pivot = 0.0
        self._low, self._high = math.inf, -math.inf
        self.extend(values)

    def extend(self, values: Iterable[float]) -> None:
        if self._bins is None:
            self._exact.extend(values)
            self.count = len(self._exact)
            if self.count > EXACT:
                self._spill()
            return
        self._absorb(values if isinstance(values, Sequence) else list(values))

    def _spill(self) -> None:
        exact, self._exact = self._exact, array("d")
        self._bins, self.count = Counter(), 0
        self._pivot = math.fsum(exact) / len(exact)
        self._absorb(exact)

    def _absorb(self, values: Sequence[float]) -> None:
        if not values:
            return
        assert self._bins is not None
        self._bins.update(_buckets(values))
        self.count += len(values)
        pivot = self._pivot
        self._total += sum(values)
        self._squares += sum([(v - pivot) * (v - pivot) for v in values])
        self._low, self._high = min(self._low, *values, math.inf), max(self._high, *values, -math.inf)

    def merge(self, other: Distribution) -> None:
        """Adds what another one holds."""
        if other._bins is None:
            self.extend(other._exact)
            return
        if self._bins is None:
            mine, self._exact, self._bins, self.count = self._exact, array("d"), Counter(), 0
            self._pivot = other._pivot
            self._absorb(mine)
        self._bins.update(other._bins)
        shift = self._pivot - other._pivot  # moves the other's sum of squares to this pivot
        centred = other._total - other.count * other._pivot
        self._squares += other._squares - 2 * shift * centred + other.count * shift * shift
        self._total += other._total
        self.count += other.count
        self._low, self._high = min(self._low, other._low), max(self._high, other._high)

    def packed(self) -> dict[str, Any]:
        """Everything, as plain data for another process."""
        return {
            "exact": self._exact.tobytes(), "bins": self._bins, "count": self.count,
            "sums": [self._total, self._squares, self._pivot, self._low, self._high],
        }  # fmt: skip

    @classmethod
    def unpacked(cls, plain: dict[str, Any]) -> Distribution:
        """The reverse of `packed`. Raises ValueError, TypeError, KeyError on anything else."""
        values = cls()
        values._exact, values.count = array("d", plain["exact"]), int(plain["count"])
        bins = plain["bins"]
        values._bins = None if bins is None else Counter({int(bucket): int(count) for bucket, count in bins.items()})
        values._total, values._squares, values._pivot, values._low, values._high = map(float, plain["sums"])
        return values

    @property
    def exact(self) -> bool:
        return self._bins is None

    def ordered(self) -> Sequence[float]:
        """All values in ascending order; in a histogram each stands for its bucket."""
        return sorted(self._exact) if self._bins is None else Ranked(self._bins)

    @property
    def mean(self) -> float | None:
        if not self.count:
            return None
        return (math.fsum(self._exact) if self._bins is None else self._total) / self.count

    @property
    def stddev(self) -> float | None:
        mean = self.mean
        if mean is None or self.count < 2:
            return None
        if self._bins is None:
            squares = math.fsum((v - mean) ** 2 for v in self._exact)
        else:
            squares = max(0.0, self._squares - self.count * (mean - self._pivot) ** 2)
        return math.sqrt(squares / (self.count - 1))

    @property
    def extremes(self) -> tuple[float, float] | None:
        if not self.count:
            return None
        return (min(self._exact), max(self._exact)) if self._bins is None else (self._low, self._high)
