"""What a probe's agent is told, and `netprobe-result/v1`, what it answers: every measurement of one pair, and what they come to.

Times are integer nanoseconds, rates bits per second. A statistic of a pair is the median over its repetitions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Contract, Text63, Text253
from .kube import Timestamp
from .netprobe import ProbeTest

IPERF3_PORT, PING_PORT, HEALTH_PORT = 5201, 5202, 5203  # where an agent answers
Verdict = Literal["valid", "degraded", "invalid"]


class ProbeConfig(Contract):
    """Input of the client agent: tests against one server agent, or against targets alone where there is none."""

    schema_version: Literal["netprobe-config/v1"] = "netprobe-config/v1"
    probe: Text63
    namespace: Text63
    uid: Text253
    server_host: Text253 | None
    service_host: Text253 | None = None
    source_node: Text253
    target_node: Text253 | None
    tests: Annotated[list[ProbeTest], Field(min_length=1, max_length=16)]
    repetitions: Annotated[int, Field(ge=1, le=20)]
    seed: int = 1
    deadline_s: Annotated[int, Field(ge=1)]


class Times(Contract):
    """A distribution of durations. Percentiles of three significant digits where there are many values; p99 is withheld
    below 500 values."""

    count: int
    min_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int | None
    max_ns: int
    mean_ns: int


class Flow(Contract):
    """One direction of a throughput test: the receiver's rate; what only the sender or only UDP knows is null elsewhere."""

    bits_per_second: int
    retransmits: int | None = None
    packets: int | None = None
    lost_packets: int | None = None
    jitter_ns: int | None = None


class Throughput(Contract):
    """iperf3's figures. CPU in percent of one core, of iperf3's own processes."""

    forward: Flow | None = None
    reverse: Flow | None = None
    client_cpu_percent: float | None
    server_cpu_percent: float | None
    streams: int
    protocol: Literal["TCP", "UDP"]
    mss_bytes: int | None = None
    congestion_control: str | None = None
    tcp_rtt_ns: int | None = Field(
        default=None, description="The kernel's mean under this very load; never the latency."
    )


class Datagrams(Contract):
    """UDP messages that were answered and that were not."""

    sent: int
    lost: int
    reordered: int
    jitter_ns: int = Field(description="Smoothed as RFC 3550, 6.4.1, over round trips.")


class Stalled(Contract):
    """Round trips that waited for a retransmission: they took the connection's timeout longer than the shortest."""

    count: int
    total_ns: int


class ProbeMeasurement(Contract):
    """One test once. Every member that a test does not measure is null."""

    test: Text63
    type: Text63
    path: Text63
    repetition: int
    order: int = Field(description="Which measurement of the pair it was: tests are shuffled within a repetition.")
    seconds: int
    stamps: Literal["kernel", "user"] | None = None
    rtt: Times | None = Field(default=None, description="A round trip, less what the other side held it.")
    stalled: Stalled | None = Field(default=None, description="Those of `rtt` that waited for a retransmission.")
    held: Times | None = Field(
        default=None, description="From the request's arrival to the reply's sending, over there."
    )
    connect: Times | None = None
    tls: Times | None = None
    first_byte: Times | None = Field(
        default=None, description="From the connection's first SYN to the answer's first byte."
    )
    lookup: Times | None = None
    loaded_rtt: Times | None = Field(default=None, description="Round trips beside a throughput test.")
    datagrams: Datagrams | None = None
    throughput: Throughput | None = None
    failures: dict[str, int] | None = Field(default=None, description="How often which failure was met.")
    error: str | None = None


class EndFacts(Contract):
    """One end of the pair, over the whole measurement."""

    node: Text253 | None
    kernel: str
    iperf3_version: str | None
    mtu_bytes: int | None
    congestion_control: str | None
    cpus: float
    cpu_used_ratio: float | None = Field(description="Of those CPUs, by everything on the machine.")
    throttled_s: float | None = Field(description="How long the cgroup's CPU limit held the agent.")


class ProbeStatistic(Contract):
    """One number of one test: the median over repetitions, and its 95 % interval where there are enough of them."""

    test: Text63
    path: Text63
    metric: Text63
    statistic: Text63
    unit: Literal["ns", "bit/s", "ppm", "count"]
    value: int
    low: int | None
    high: int | None
    repetitions: int
    spread_percent: float | None = Field(description="(highest - lowest) / median over the repetitions.")


class ProbeReason(Contract):
    """Why a figure is not to be taken as it stands."""

    reason: Literal[
        "ClientSaturated", "ServerSaturated", "SameNodeOnly", "Unstable", "Lossy", "Failing", "TooShort", "Incomplete"
    ]
    verdict: Literal["degraded", "invalid"]
    message: Annotated[str, Field(max_length=512)]


class ProbeVerdict(Contract):
    """The worst of its reasons."""

    verdict: Verdict
    reasons: list[ProbeReason]


class NetProbeResult(Contract):
    """`netprobe-result/v1`: all measurements of one pair of nodes, or of one node and its targets."""

    schema_version: Literal["netprobe-result/v1"] = "netprobe-result/v1"
    probe: Text63
    namespace: Text63
    uid: Text253
    source_node: Text253
    target_node: Text253 | None
    started_at: Timestamp
    ended_at: Timestamp
    seed: int
    tests: list[Text63]
    repetitions: int = Field(description="As planned; `interrupted` before that, some are missing.")
    interrupted: bool
    fabric: Literal["ethernet-tcp"] = "ethernet-tcp"
    client: EndFacts
    server: EndFacts | None
    measurements: list[ProbeMeasurement]
    statistics: list[ProbeStatistic]
    verdict: ProbeVerdict


class EastWest(Contract):
    """`netprobe-ew/v1`: a whole probe, of a cluster or by hand. `measured` of `pairs_of` pairs, chosen as `chosen` says."""

    schema_version: Literal["netprobe-ew/v1"] = "netprobe-ew/v1"
    probe: Text63
    created_at: Timestamp
    environment: dict[str, Text253]
    tests: list[ProbeTest]
    measured: int
    pairs_of: int
    chosen: Text253
    verdict: ProbeVerdict
    pairs: list[NetProbeResult]
    left_out: Text253 = Field(default="", description="What did not fit into its place, and where it can be had.")
