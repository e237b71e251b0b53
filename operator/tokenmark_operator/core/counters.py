"""What the operator counts of itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Outcome:
    result: str = "ok"


@dataclass
class Counters:
    """What the operator counts of itself."""

    reconciles: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, tuple[int, float]] = field(default_factory=dict)

    @contextmanager
    def reconcile(self, kind: str) -> Iterator[Outcome]:
        outcome, began = Outcome(), time.perf_counter()
        try:
            yield outcome
        finally:
            self.reconciles[kind, outcome.result] += 1
            count, total = self.seconds.get(kind, (0, 0.0))
            self.seconds[kind] = count + 1, total + time.perf_counter() - began
