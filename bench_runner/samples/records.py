"""Small records of sums over samples, each with what belongs together. A record adds up field by field: numbers are summed
(or the larger one kept, where a field says so), what can merge merges, and unknown stays unknown only while all are.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from tokenmark_decisions.distribution import Distribution

from ..stats.clusters import Clusters
from .flow import Bins
from .metrics import METRICS

if TYPE_CHECKING:
    Stamps = array[int]
else:
    Stamps = array  # read at run time, where Python 3.11 cannot subscript it

RECENT = 500  # answers that progress is computed from
BOUNDED = ("ttft", "tpot", "e2e")  # metrics whose stamps may be uncertain
CLUSTERED = ("itl", "chunk_gap")  # metrics with many values a request
LARGER = {"larger": True}


def _sum(mine: Any, theirs: Any, larger: bool) -> Any:
    if theirs is None or isinstance(theirs, str):
        return mine if mine is not None else theirs
    if mine is None:
        return deepcopy(theirs)
    if isinstance(mine, int | float):
        return max(mine, theirs) if larger else mine + theirs
    if isinstance(mine, Counter):
        mine.update(theirs)
    elif isinstance(mine, dict):
        for key, value in theirs.items():
            mine[key] = _sum(mine.get(key), value, larger)
    elif isinstance(mine, array | list | deque):
        mine.extend(theirs)
    else:
        mine.merge(theirs)
    return mine


class Record:
    """A dataclass that adds up."""

    def merge(self, other: Self) -> None:
        """Adds another one to this; the other stays as it is."""
        for each in fields(self):  # type: ignore[arg-type]
            both = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, _sum(*both, larger=each.metadata.get("larger", False)))


@dataclass
class Outcomes(Record):
    """Requests by how they ended. `failing_most`: the longest run of failures, one after the other as they ended."""

    due: int = 0
    sent: int = 0
    succeeded: int = 0
    cancelled: int = 0
    good: int = 0  # met every objective
    good_tokens: int = 0  # of theirs
    unstreamed: int = 0  # a stream was asked for, and the answer came in one piece
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    failing: int = 0
    failing_most: int = field(default=0, metadata=LARGER)

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


@dataclass
class Tokens(Record):
    """As counted by whom `sources` names. None: nobody told."""

    output: int = 0
    prompt: int | None = None
    cached: int | None = None
    reasoning: int = 0
    asked: int = 0  # what the requests allowed
    chunks: int = 0
    mismatches: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)


@dataclass
class Reads(Record):
    """How promptly the client read; `coalesced_s` are the intervals of reads that held several chunks. `uncertain`:
    answers whose first token may have come earlier than its stamp."""

    count: int = 0
    coalesced_s: Distribution = field(default_factory=Distribution)
    uncertain: int = 0
    lags_s: Distribution = field(default_factory=Distribution)


@dataclass
class Called(Record):
    """Calls of one operation, in seconds; what failed is in none of the times."""

    failed: int = 0
    e2e: Distribution = field(default_factory=Distribution)
    e2e_scheduled: Distribution = field(default_factory=Distribution)
    recall: Distribution = field(default_factory=Distribution)


@dataclass
class Traffic(Record):
    """Of answers that came whole. `stalled` of them had waited for lost segments of their request, `stalled_ns` together."""

    sent_bytes: int = 0
    received_bytes: int = 0
    stalled: int = 0
    stalled_ns: int = 0


@dataclass
class Latencies(Record):
    """Values by metric; between what and what they lie where stamps are shared; and which belong to one request."""

    values: dict[str, Distribution] = field(default_factory=lambda: {m.id: Distribution() for m in METRICS})
    lowest: dict[str, Distribution] = field(default_factory=lambda: {name: Distribution() for name in BOUNDED})
    highest: dict[str, Distribution] = field(default_factory=lambda: {name: Distribution() for name in BOUNDED})
    clusters: dict[str, Clusters] = field(default_factory=lambda: {name: Clusters() for name in CLUSTERED})
    send_lags_s: Distribution = field(default_factory=Distribution)


@dataclass
class Steps(Record):
    """Of a pipeline's answers: seconds by step, what of TTFT no step explains (`gap_s`, below nought where steps overlap) and how
    often that was more than a hundredth of it; passages."""

    seconds: dict[str, Distribution] = field(default_factory=dict)
    gap_s: Distribution = field(default_factory=Distribution)
    unexplained: int = 0
    retrieved: Distribution = field(default_factory=Distribution)


@dataclass
class Tested(Record):
    """What the answers to one test were worth; `wrong` is the first that was, else `good` the first."""

    kind: str = ""
    asked: int = 0
    right: int = 0
    wrong: str | None = None
    good: str | None = None


@dataclass
class Turn(Record):
    """What the answers to one turn of conversations came to."""

    ttft: Distribution = field(default_factory=Distribution)
    e2e: Distribution = field(default_factory=Distribution)
    prompt_tokens: int = 0
    prompts_told: int = 0  # answers that told their prompt's tokens
    cached_tokens: int = 0
    cached_told: int = 0


@dataclass
class Flow(Record):
    """When tokens arrived and requests began (were due) and ended. `lane_firsts`: the first token of each lane of a closed
    loop, in nanoseconds, by the sequence number of its first request."""

    tokens: Bins = field(default_factory=Bins)
    begun: Stamps = field(default_factory=lambda: array("q"))
    ended: Stamps = field(default_factory=lambda: array("q"))
    lane_firsts: dict[int, int] = field(default_factory=dict, metadata=LARGER)
    first_tokens: Stamps = field(default_factory=lambda: array("q"))  # of a closed loop's first rounds


@dataclass
class Recent:
    """The newest answers, for whoever watches; never merged."""

    ttft_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    tpot_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    call_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # of a database
    read_lag_s: deque[float] = field(default_factory=lambda: deque(maxlen=10 * RECENT))
    send_lag_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    # without a closed loop's first wave
    settled_ttft_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    settled_tpot_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
