"""What goes on between a run and who watches it: progress out, the order to stop in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from tokenmark_schemas.result import RunResult

from .sample import Sample
from .stats import enough_for, percentile


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
    send_lag_p99_s: float | None = None
    read_lag_p99_s: float | None = None
    away_s: float = 0.0  # the longest that the client was away, see the verdict's loop_lag
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


@dataclass
class Stop:
    """Set by a signal handler; ends the run at once and keeps what there is."""

    asked: bool = False
    why: str = ""
    lost_pod: int | None = None  # the pod of a team whose loss it was
    missing_pod: int | None = None  # the first that never came
    hooks: list[Callable[[], None]] = field(default_factory=list)

    def ask(self, why: str) -> None:
        self.asked, self.why = True, why
        for hook in self.hooks:
            hook()
