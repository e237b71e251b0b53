"""What the operator counts of itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import Histogram

WORK_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)


def _seconds(name: str, about: str) -> Histogram:
    """In no registry: the projection hands it out with the rest."""
    return Histogram(f"tokenmark_operator_{name}_seconds", about, ("kind",), buckets=WORK_S, registry=None)


@dataclass
class Outcome:
    result: str = "ok"


@dataclass
class Counters:
    """Reconciliations by kind and result; how long they take, and how long what is due waits for one."""

    reconciles: Counter[tuple[str, str]] = field(default_factory=Counter)
    reconcile_s: Histogram = field(default_factory=lambda: _seconds("reconcile", "Time a reconciliation takes."))
    queue_wait_s: Histogram = field(
        default_factory=lambda: _seconds("queue_wait", "Time from due to taken by a worker.")
    )

    @contextmanager
    def reconcile(self, kind: str) -> Iterator[Outcome]:
        outcome, began = Outcome(), time.perf_counter()
        try:
            yield outcome
        finally:
            self.reconciles[kind, outcome.result] += 1
            self.reconcile_s.labels(kind).observe(time.perf_counter() - began)
