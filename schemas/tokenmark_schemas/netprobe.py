"""NetProbe v1alpha1: latency and throughput between nodes, and `netprobe-result/v1`, what an agent measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from .base import Contract, Label, StringMap, Text63, Text253, cel, list_map, rules
from .kube import Environment, Exclusivity, Execution, ObjectMeta, Results, Status, Timestamp, Toleration, immutable

BITRATE = r"^\d{1,6}(\.\d{1,3})?[KMG]?$"


class ProbeTest(Contract):
    """One measurement, made on every pair of nodes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.type != 'Throughput' || self.protocol != 'UDP' || has(self.bitrate)",
                "a UDP throughput test needs bitrate: iperf3 would send 1 Mbit/s",
            ),
            cel(
                "!has(self.omitSeconds) || !has(self.durationSeconds) || self.omitSeconds < self.durationSeconds",
                "omitSeconds must be below durationSeconds",
            ),
        )
    )
    name: Label
    type: Literal["TCPLatency", "TCPConnect", "UDPLatency", "Throughput"]
    path: Literal["PodToPod", "PodToService", "NodeToNode"] = "PodToPod"
    duration_seconds: Annotated[int, Field(ge=1, le=3600)] | None = Field(
        default=None, description="Default: 10 for latency, 30 for throughput."
    )
    warmup_seconds: Annotated[int, Field(ge=0, le=600)] = Field(default=2, description="Latency: not counted.")
    message_bytes: Annotated[int, Field(ge=1, le=65_536)] = Field(default=64, description="Latency: size each way.")
    rate_hz: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Latency: messages per second; unset sends back to back."
    )
    protocol: Literal["TCP", "UDP"] = "TCP"
    direction: Literal["Forward", "Reverse", "Bidirectional"] = "Forward"
    parallel_streams: Annotated[int, Field(ge=1, le=128)] = 1
    omit_seconds: Annotated[int, Field(ge=0, le=600)] | None = Field(
        default=None, description="Throughput: start-up left out of the figure; default 5, or less in short tests."
    )
    block_bytes: Annotated[int, Field(ge=64, le=1_048_576)] = 131_072
    window_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] | None = None
    mss_bytes: Annotated[int, Field(ge=88, le=9216)] | None = None
    congestion_control: Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9_]+$")] | None = None
    bitrate: Annotated[str, Field(max_length=12, pattern=BITRATE)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ProbeTest:
        if self.type == "Throughput" and self.protocol == "UDP" and self.bitrate is None:
            raise ValueError("a UDP throughput test needs bitrate: iperf3 would send 1 Mbit/s")
        if self.omit_seconds is not None and self.omit_seconds >= self.seconds:
            raise ValueError("omitSeconds must be below durationSeconds")
        return self

    @property
    def seconds(self) -> int:
        """Counted length of the test in seconds."""
        return self.duration_seconds or (30 if self.type == "Throughput" else 10)

    @property
    def omitted_seconds(self) -> int:
        """Start-up of a throughput test that is not counted, in seconds."""
        return self.omit_seconds if self.omit_seconds is not None else min(5, self.seconds // 3)


class Placement(Contract):
    topology: Literal["SameNode", "DifferentNode", "DifferentZone", "Mesh"] = "DifferentNode"
    node_selector: StringMap | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    max_nodes: Annotated[int, Field(ge=1, le=64)] = 16


class Pairs(Contract):
    model_config = ConfigDict(
        json_schema_extra=rules(cel("self.selection != 'Sample' || has(self.count)", "selection Sample needs count"))
    )
    selection: Literal["All", "RoundRobin", "Sample"] = "All"
    count: Annotated[int, Field(ge=1, le=4096)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    max_concurrent: Annotated[int, Field(ge=1, le=32)] = 1

    @model_validator(mode="after")
    def _count_for_sample(self) -> Pairs:
        if self.selection == "Sample" and self.count is None:
            raise ValueError("selection Sample needs count")
        return self


class ProbeObjective(Contract):
    metric: Literal["rtt", "connect", "throughput", "retransmits", "loss", "jitter"]
    statistic: Literal["p50", "p90", "p99", "mean", "max"] = "p99"
    max_microseconds: Annotated[int, Field(ge=1, le=86_400_000_000)] | None = None
    min_megabits_per_second: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    on_violation: Literal["Report", "Fail"] = "Report"


_PROBE_IMMUTABLE = (
    "placement", "pairs", "repetitions", "results", "execution", "exclusivity", "environment",
)  # fmt: skip


class NetProbeSpec(Contract):
    model_config = ConfigDict(
        json_schema_extra=rules(
            *[immutable(name, always=True) for name in _PROBE_IMMUTABLE],
            cel(
                "self.tests == oldSelf.tests && self.tests.map(x, x.name) == oldSelf.tests.map(x, x.name)",
                "tests is immutable once created; make a new object with another name",
                path=".tests",
                reason="FieldValueForbidden",
            ),
            immutable("objectives", key="metric"),
        )
    )
    tests: Annotated[list[ProbeTest], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))]
    placement: Placement = Placement()
    pairs: Pairs = Pairs()
    repetitions: Annotated[int, Field(ge=1, le=20)] = 3
    objectives: (
        Annotated[
            list[ProbeObjective],
            Field(min_length=1, max_length=16, json_schema_extra=list_map("metric", "statistic")),
        ]
        | None
    ) = None
    results: Results = Results()
    execution: Execution = Execution()
    exclusivity: Exclusivity = Exclusivity()
    environment: Environment = Environment()
    suspend: bool = False
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> NetProbeSpec:
        names = [test.name for test in self.tests]
        if len(set(names)) != len(names):
            raise ValueError("test names must differ")
        return self


class ProbeSummary(Contract):
    """One test on one pair: integers only."""

    test: Text63
    source_node: Text253
    target_node: Text253
    source_zone: Text63 | None = None
    target_zone: Text63 | None = None
    path: Text63 = "PodToPod"
    direction: Text63 | None = None
    streams: int | None = None
    rtt_nanoseconds_p50: int | None = None
    rtt_nanoseconds_p90: int | None = None
    rtt_nanoseconds_p99: int | None = None
    throughput_bits_per_second: int | None = None
    retransmits: int | None = None
    samples: int | None = None


class PairStatus(Contract):
    """Two nodes and how far their measurement is."""

    index: Annotated[int, Field(ge=1, le=4096)]
    source_node: Text253
    target_node: Text253
    source_zone: Text63 | None = None
    target_zone: Text63 | None = None
    state: Literal["Pending", "Running", "Completed", "Failed"] = "Pending"
    message: Annotated[str, Field(max_length=512)] | None = None


class ProbeStatus(Status):
    admitted_at: Timestamp | None = Field(default=None, description="Since when it measures; absent: it does not.")
    refused_since: Timestamp | None = None
    pairs_total: Annotated[int, Field(ge=0)] | None = None
    pairs_completed: Annotated[int, Field(ge=0)] | None = None
    pairs_failed: Annotated[int, Field(ge=0)] | None = None
    pairs: Annotated[list[PairStatus], Field(max_length=128, json_schema_extra=list_map("index"))] | None = None
    environment: StringMap | None = None
    progress: Annotated[str, Field(max_length=256)] | None = None
    rtt_p99_microseconds: int | None = Field(default=None, description="Worst pair.")
    throughput_median_megabits_per_second: int | None = None
    summary: Annotated[list[ProbeSummary], Field(max_length=256)] | None = None


class NetProbe(Contract):
    api_version: Literal["tokenmark.dev/v1alpha1"]
    kind: Literal["NetProbe"]
    metadata: ObjectMeta
    spec: NetProbeSpec
    status: ProbeStatus | None = None


# --- what the agent is given, and what it answers ---------------------------------------------------------------


class ProbeConfig(Contract):
    """Input of the client agent: every test against one server agent."""

    schema_version: Literal["netprobe-config/v1"] = "netprobe-config/v1"
    probe: Text63
    namespace: Text63
    uid: Text253
    server_host: Text253
    port: int = 5201
    source_node: Text253
    target_node: Text253
    tests: list[ProbeTest]
    repetitions: int
    deadline_s: int


class Rtt(Contract):
    """Round trips in nanoseconds: reply arrival (kernel stamp) minus send."""

    count: int
    min_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int | None
    max_ns: int
    mean_ns: int


class Throughput(Contract):
    """Receiver's figure; retransmits are the sender's, null where the kernel does not tell."""

    bits_per_second: int
    retransmits: int | None
    sender_cpu_percent: float | None
    receiver_cpu_percent: float | None
    streams: int
    direction: str


class ProbeMeasurement(Contract):
    test: Text63
    type: Text63
    path: Text63
    repetition: int
    stamps: Literal["kernel", "user"] | None = None
    rtt: Rtt | None = None
    throughput: Throughput | None = None
    error: str | None = None


class NetProbeResult(Contract):
    """`netprobe-result/v1`: all measurements of one pair of nodes."""

    schema_version: Literal["netprobe-result/v1"] = "netprobe-result/v1"
    probe: Text63
    namespace: Text63
    uid: Text253
    source_node: Text253
    target_node: Text253
    started_at: Timestamp
    ended_at: Timestamp
    iperf3_version: str | None
    kernel: str
    mtu_bytes: int | None
    congestion_control: str | None
    measurements: list[ProbeMeasurement]
