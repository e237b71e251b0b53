"""One phase of load for one worker, fully decided beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tokenmark_schemas.workload import Stage

NS = 1_000_000_000


@dataclass(frozen=True)
class Address:
    """A resolved TCP address: family, (host, port[, …]) as `socket` takes it."""

    family: int
    sockaddr: tuple[str | int, ...]


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

    `minimum` and `minimum_ns` are the warm-up's rule: go on until that many requests were issued and that much time
    has passed. A measured stage stops issuing at `count` or after `duration_ns`, whichever comes first.
    """

    name: str
    address: Address
    render: Callable[[int], bytes]
    limits: Limits
    concurrency: int | None = None
    rate_per_s: float | None = None
    arrival: str = "Constant"
    seed: int = 1
    count: int | None = None
    duration_ns: int | None = None
    minimum: int = 0
    minimum_ns: int = 0
    max_connections: int = 16_384

    def issuing_ended(self, issued: int, elapsed_ns: int) -> bool:
        """True once no further request is to be sent."""
        if self.count is not None and issued >= self.count:
            return True
        if self.duration_ns is not None and elapsed_ns >= self.duration_ns:
            return True
        unbounded = self.count is None and self.duration_ns is None
        return unbounded and issued >= self.minimum and elapsed_ns >= self.minimum_ns


def stage_phase(stage: Stage, **rest: object) -> Phase:
    """A measured stage as a phase."""
    return Phase(
        name=stage.name,
        concurrency=stage.concurrency,
        rate_per_s=stage.rate_per_s,
        arrival=stage.arrival or "Constant",
        count=stage.request_count,
        duration_ns=stage.duration_seconds * NS if stage.duration_seconds else None,
        **rest,  # type: ignore[arg-type]
    )


def warmup_phase(stage: Stage, count: int, seconds: int, **rest: object) -> Phase:
    """The warm-up, in the shape of the first stage."""
    return Phase(
        name="warmup",
        concurrency=stage.concurrency,
        rate_per_s=stage.rate_per_s,
        arrival=stage.arrival or "Constant",
        minimum=count,
        minimum_ns=seconds * NS,
        **rest,  # type: ignore[arg-type]
    )
