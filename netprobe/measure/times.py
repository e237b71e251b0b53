"""Durations as they come -> `Times`; and the pace at which they are made."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tokenmark_decisions.distribution import Distribution
from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import Times

ENOUGH_FOR_P99 = 500
SECOND_NS = 1_000_000_000
mono = time.monotonic_ns


class Durations:
    """Nanoseconds, bounded in memory."""

    def __init__(self) -> None:
        self._distribution, self._chunk = Distribution(), list[float]()

    def add(self, nanoseconds: int) -> None:
        self._chunk.append(nanoseconds)
        if len(self._chunk) == 4096:
            self._flush()

    def _flush(self) -> None:
        self._distribution.extend(self._chunk)
        self._chunk = []

    def times(self) -> Times | None:
        """None where nothing was added. Percentiles by the nearest rank."""
        self._flush()
        ordered = self._distribution.ordered()
        count, extremes, mean = len(ordered), self._distribution.extremes, self._distribution.mean
        if extremes is None or mean is None:
            return None

        def at(q: float) -> int:
            return round(ordered[min(count - 1, int(q * (count - 1) + 0.5))])

        return Times(
            count=count, min_ns=round(extremes[0]), p50_ns=at(0.5), p90_ns=at(0.9),
            p99_ns=at(0.99) if count >= ENOUGH_FOR_P99 else None, max_ns=round(extremes[1]), mean_ns=round(mean),
        )  # fmt: skip


def turns(test: ProbeTest, rate_hz: int) -> Iterator[bool]:
    """The turns of a test at its own rate, else at that one: first those of its warm-up, which do not count."""
    for seconds, counts in ((test.warmup_seconds, False), (test.seconds, True)):
        for _ in paced(seconds, test.rate_hz or rate_hz):
            yield counts


def paced(seconds: float, rate_hz: int | None) -> Iterator[int]:
    """Due times (monotonic, ns) until `seconds` have passed, slept for; without a rate, now and again now. A due time that was
    missed by more than a step is left out, never caught up: a burst would measure itself."""
    start = mono()
    end = start + round(seconds * SECOND_NS)
    if rate_hz is None:
        while (now := mono()) < end:
            yield now
        return
    step, due = SECOND_NS // rate_hz, start
    while due < end:
        if (late := mono() - due) < 0:
            time.sleep(-late / SECOND_NS)
        elif late > step:
            due += late // step * step
        yield due
        due += step
