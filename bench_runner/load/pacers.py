"""When requests are due: pure arithmetic over offsets in nanoseconds. No clock, no sleep, randomness takes a seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

NS = 1_000_000_000


def constant(rate_per_s: float, seed: int) -> Iterator[int]:
    """0, 1/rate, 2/rate … as integer nanoseconds, each computed from its index so that nothing drifts."""
    return (round(i * NS / rate_per_s) for i in itertools.count())


PACERS: dict[str, Callable[[float, int], Iterator[int]]] = {"Constant": constant}
