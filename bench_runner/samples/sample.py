"""Sample: the record of one request. Facts only; every derived time is a metric (see `metrics`)."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request does not count: a class from a closed list, and the server's or the kernel's own words."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer to a test, cut short."""

    test: str
    kind: str
    right: bool
    answer: str


@dataclass
class Sample:
    """Nanoseconds on the monotonic clock; None is unknown. `content_ns` holds every chunk that carried text.

    `first_earliest_ns` and `last_earliest_ns` are set where the first or last chunk shared its read with others: it
    arrived between then and its stamp, and no more can be known.
    """

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
    output_limit: int | None = None  # the most tokens that the request allowed
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    token_source: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    chunk_tokens: list[int] | None = None
    engine_timings: dict[str, Any] | None = None
    status: int | None = None
    failure: Failure | None = None
    reported_model: str | None = None
    first_earliest_ns: int | None = None
    last_earliest_ns: int | None = None
    read_lags_s: list[float] = field(default_factory=list)
    reads: int = 0
    coalesced_s: list[float] = field(default_factory=list)  # reads of several chunks: how early the first may have come
    connect_ns: int | None = None  # where the request went out on a new connection: what that took
    stalled_ns: int = 0  # waited for lost segments of the request to be sent again
    sent_bytes: int = 0
    received_bytes: int = 0
    unstreamed: bool = False  # a stream was asked for, and the answer came in one piece
    conversation: int | None = None
    turn: int | None = None  # from 0
    steps_s: dict[str, float] | None = None  # of a pipeline, before the first token, as the service tells them
    retrieved: int | None = None  # passages that the answer was made from
    operation: str | None = None  # of a call to a database: which of the workload's
    recall: float | None = None  # of a search: the share of the nearest that it found
    judged: Judged | None = None  # the answer to a test

    @cached_property
    def gaps_s(self) -> list[float]:
        """Seconds between chunks."""
        return [(b - a) / 1e9 for a, b in pairwise(self.content_ns)]

    def move(self, by_ns: int) -> None:
        """Puts every time on a clock that is so much ahead; what lies between two times stays."""
        for name in _TIMES:
            if (value := getattr(self, name)) is not None:
                setattr(self, name, value + by_ns)
        self.content_ns = array("q", [stamp + by_ns for stamp in self.content_ns])


_TIMES = (
    "due_ns", "ready_ns", "sent_ns", "first_byte_ns", "end_ns", "visible_ns", "first_earliest_ns", "last_earliest_ns",
)  # fmt: skip
