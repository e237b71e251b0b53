"""The network under a run: what a probe found on its way, and how much of the run's latency that explains.

A spec asks (`NetworkSpec`), the runner is told what a probe found (`RunNetwork`), the result says what it explains (`Network`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Contract, Text63, Text253
from .kube import Timestamp


class NetworkSpec(Contract):
    """A probe of the run's own way, right before its load."""

    measure: Annotated[
        bool, Field(description="From the runner's node to the target's, about a minute before the load.")
    ]
    repetitions: Annotated[int, Field(ge=3, le=20)] = Field(
        default=6, description="Of the probe's tests; ten seconds each."
    )


class PathTimes(Contract):
    """Over all repetitions, nanoseconds; round trips that waited for a retransmission are left out. `low_ns` and `high_ns`:
    the mean's 95 % interval over repetitions, null of fewer than three."""

    count: int
    p50_ns: int
    p99_ns: int | None
    mean_ns: int
    low_ns: int | None
    high_ns: int | None


class PathRate(Contract):
    """Median over the repetitions, with its 95 % interval where there are enough of them."""

    bits_per_second: int
    low: int | None
    high: int | None


class PathUpload(Contract):
    """How much longer than a small one a message of that size takes to get there, nanoseconds."""

    message_bytes: int
    mean_ns: int
    low_ns: int
    high_ns: int


class NetworkPath(Contract):
    """One pair of a probe, as far as a run needs it: from where a load may come to where a target may be."""

    source_node: Text253
    target_node: Text253 | None
    path: Text63
    measured_at: Timestamp
    rtt: PathTimes | None
    connect: PathTimes | None
    forward: PathRate | None
    reverse: PathRate | None
    uploads: list[PathUpload] = Field(default=[], description="By size, the smallest first.")
    mss_bytes: int | None = None
    verdict: Literal["valid", "degraded", "invalid"]
    reasons: list[Annotated[str, Field(max_length=512)]] = []


class RunNetwork(Contract):
    """What the runner is told. `missing` says why there is nothing."""

    probe: Text253
    paths: Annotated[list[NetworkPath], Field(max_length=256)] = []
    target_nodes: Annotated[list[Text253], Field(max_length=16)] = []
    missing: Annotated[str, Field(max_length=512)] = ""


class WayToMeasure(Contract):
    """Outside a cluster the runner has its way measured itself: to an agent on that host, or where none answers by connections."""

    host: Text253
    repetitions: Annotated[int, Field(ge=3, le=20)] = 6


class NetworkTerm(Contract):
    """A summand, in seconds, and where it comes from."""

    name: Literal["round_trip", "request", "window", "queue", "loss"]
    value_s: float
    low_s: float
    high_s: float
    how: str


class NetworkShare(Contract):
    """What the network explains of a mean. `network_s` is the sum of the terms; `at_least`: the run itself filled the way, and
    what waiting for each other took is not in it. Null: it cannot be told, and `note` says why."""

    stage: str
    metric: Literal["ttft", "tpot"]
    mean_s: float
    network_s: float | None
    low_s: float | None
    high_s: float | None
    ratio: float | None = Field(description="network_s / mean_s")
    ratio_low: float | None = None
    ratio_high: float | None = None
    at_least: bool = False
    terms: list[NetworkTerm] = []
    note: str = ""


class WayTimes(Contract):
    """Seconds; `ci95_mean` over the probe's repetitions."""

    p50_s: float
    p99_s: float | None
    mean_s: float
    ci95_mean: tuple[float, float] | None


class Network(Contract):
    """The way from the load to the target, as probed, and what it explains. `reversed`: the probe went the other way."""

    probe: str
    path: str | None = None
    source_node: str | None = None
    target_node: str | None = None
    reversed: bool = False
    measured_at: str | None = None
    verdict: Literal["valid", "degraded", "invalid"] | None = None
    reasons: list[str] = []
    rtt: WayTimes | None = None
    connect: WayTimes | None = None
    throughput_bits_per_s: float | None = None
    reverse_throughput_bits_per_s: float | None = None
    shares: list[NetworkShare] = []
    missing: str | None = None
