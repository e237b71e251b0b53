"""Sample: the record of one request. Facts only; every derived time is a metric (see `metrics`)."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request does not count: a class from a closed list, and the server's or the kernel's own words."""

    kind: str
    message: str


@dataclass(slots=True)
class Sample:
    """Nanoseconds on the monotonic clock; None is unknown. `content_ns` holds every chunk that carried text."""

    id: str
    stage: str
    repetition: int
    seq: int
    due_ns: int
    ready_ns: int
    sent_ns: int | None
    first_byte_ns: int | None
    content_ns: array[int]
    end_ns: int
    visible_ns: int | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    token_source: str | None = None
    chunk_tokens: array[int] | None = None
    engine_timings: dict[str, Any] | None = None
    status: int | None = None
    failure: Failure | None = None
    reported_model: str | None = None
    read_lags_ns: array[int] = field(default_factory=lambda: array("q"))
    reads: int = 0
    coalesced_reads: int = 0
    coalesced_interval_ns: int = 0

    @property
    def ok(self) -> bool:
        return self.failure is None
