"""What a run tells those who watch it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tokenmark_schemas.result import RunResult

from ..samples.sample import Sample
from ..stats.summary import enough_for, percentile


@dataclass(frozen=True)
class Quantiles:
    """Seconds, of the newest answers."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, values: Iterable[float]) -> Quantiles:
        ordered = sorted(values)
        known = [percentile(ordered, q) if enough_for(len(ordered), q) else None for q in (0.5, 0.9, 0.99)]
        return cls(*known)


@dataclass
class Progress:
    """What a person wants to know while it runs."""

    phase: str
    stage: str
    repetition: int
    repetitions: int
    elapsed_s: float = 0.0
    duration_s: float | None = None  # when the phase ends by itself
    count: int | None = None  # after how many requests it does
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    ttft: Quantiles = Quantiles()
    tpot: Quantiles = Quantiles()
    calls: Quantiles | None = None  # of a database, which has no first token
    send_lag_p99_s: float | None = None
    read_lag_p99_s: float | None = None
    away_s: float = 0.0  # the longest that the client was away
    away_share: float = 0.0  # of the time so far, see the verdict's loop_lag
    cores: float = 0.0
    workers: int = 1
    tokens_per_s: float | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Which phase it is."""
        return self.phase, self.repetition


class Observer(Protocol):
    """Who wants to see samples and progress while the run goes on."""

    def sample(self, sample: Sample) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def repetition(self, index: int, result: RunResult) -> None: ...
