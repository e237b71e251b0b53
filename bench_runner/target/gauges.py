"""What only means something while load runs (queues, cache use, GPUs): looked at every few seconds, kept as mean and peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST_S, MOST_PAUSE_S = 0.5, 60.0


@dataclass
class Gauge:
    """Readings of one quantity."""

    total: float = 0.0
    count: int = 0
    peak: float = 0.0

    def add(self, value: float) -> None:
        self.peak = max(self.peak, value) if self.count else value
        self.total += value
        self.count += 1

    @property
    def mean(self) -> float:
        return self.total / self.count

    @classmethod
    def pooled(cls, parts: list[Gauge]) -> Gauge:
        """Several repetitions as one."""
        return cls(sum(p.total for p in parts), sum(p.count for p in parts), max(p.peak for p in parts))


Gauges = dict[str, Gauge]


def pooled(parts: list[Gauges]) -> Gauges:
    names = {name: None for part in parts for name in part}
    return {name: Gauge.pooled([part[name] for part in parts if name in part]) for name in names}


@dataclass
class Reading:
    """Something to read every so often; `gauges` is what came of it. What does not answer is asked ever less often."""

    read: Callable[[], dict[str, float] | None]
    every_s: float
    gauges: Gauges = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)  # what was read last
    times: int = 0  # that something was read
    clock: Callable[[], float] = time.monotonic
    _next: float = 0.0
    _pause_s: float = 0.0

    def look(self) -> None:
        now = self.clock()
        if not self._next:
            self._next = now + FIRST_S
        if now < self._next:
            return
        found = self.read()
        self.last, self.times = found or {}, self.times + 1
        for name, value in (found or {}).items():
            self.gauges.setdefault(name, Gauge()).add(value)
        self._pause_s = self.every_s if found else min(MOST_PAUSE_S, 2 * (self._pause_s or self.every_s))
        self._next = self.clock() + self._pause_s
