"""What goes on between a run and who watches it: progress out, the order to stop in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tokenmark_schemas.result import RunResult

from .sample import Sample


@dataclass
class Progress:
    """What a person wants to know while it runs."""

    phase: str
    stage: str
    repetition: int
    repetitions: int
    elapsed_s: float
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    send_lag_p99_s: float | None = None
    away_s: float = 0.0  # the longest that the client was away, see the verdict's loop_lag
    tokens_per_s: float | None = None


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
