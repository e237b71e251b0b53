"""One phase of load for one worker, fully decided beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmark_schemas.workload import Stage

from .calls import Calls
from .clock import NS
from .dialogue import Dialogue
from .route import Route

TRACE_LANES = 16


@dataclass(frozen=True)
class Limits:
    """Nanoseconds."""

    request_ns: int
    first_token_ns: int
    idle_ns: int
    drain_ns: int


@dataclass(frozen=True)
class Phase:
    """What a worker does: `render(seq)` gives the whole HTTP request of the seq-th request.

    Closed loop (`concurrency`), open loop (`rate_per_s` with a pacer, or `offsets` of a trace in nanoseconds).
    `minimum` and `minimum_ns` are the warm-up's rule: go on until that many requests were issued and that much time
    has passed. A measured stage stops issuing at `count` or after `duration_ns`, whichever comes first.
    """

    name: str
    route: Route
    render: Callable[[int], bytes]
    limits: Limits
    concurrency: int | None = None
    rate_per_s: float | None = None
    ramp_to_per_s: float | None = None
    arrival: str = "Constant"
    burstiness: float = 1.0
    offsets: Sequence[int] | None = None
    seed: int = 1
    count: int | None = None
    duration_ns: int | None = None
    minimum: int = 0
    minimum_ns: int = 0
    calls: Calls | None = None  # in place of `render` and `route`, where a library makes the calls
    pool: int = 16  # channels of an open loop of such calls
    dialogue: Dialogue | None = None  # where requests are turns of conversations; `render` is its own then
    shard: tuple[int, int] = (0, 1)  # this worker, of how many
    begin_ns: int = 0  # when all workers begin; at once if it has passed

    def share(self, count: int) -> int:
        """This worker's part of so many."""
        index, workers = self.shard
        return (count - index + workers - 1) // workers

    @property
    def lanes(self) -> int:
        """Connections worth opening before the clock starts."""
        if self.calls is not None:
            return self.share(self.concurrency or self.pool)
        if self.offsets is not None:
            wanted = TRACE_LANES
        else:
            wanted = self.concurrency or min(256, max(1, round(max(self.rate_per_s or 1, self.ramp_to_per_s or 1))))
        return min(self.share(wanted), self.max_connections) if self.route.reuse else 0

    @property
    def max_connections(self) -> int:
        """This worker's part of the most there may be, one at least."""
        return max(1, self.share(self.route.max_connections))


def stage_phase(stage: Stage, **rest: Any) -> Phase:
    """A measured stage as a phase."""
    return Phase(
        name=stage.name,
        **_load(stage),
        ramp_to_per_s=stage.ramp_to_per_s,
        count=stage.request_count,
        duration_ns=_duration_ns(stage),
        **rest,
    )


def warmup_phase(stage: Stage, count: int, seconds: int, **rest: Any) -> Phase:
    """The warm-up, in the shape of the first stage."""
    return Phase(name="warmup", **_load(stage), minimum=count, minimum_ns=seconds * NS, **rest)


def _duration_ns(stage: Stage) -> int | None:
    if stage.duration_seconds:
        return stage.duration_seconds * NS
    return stage.trace.span_seconds * NS if stage.trace else None


def _load(stage: Stage) -> dict[str, Any]:
    return {
        "concurrency": stage.concurrency,
        "rate_per_s": stage.rate_per_s,
        "arrival": stage.arrival or "Constant",
        "burstiness": stage.burstiness_shape,
    }
