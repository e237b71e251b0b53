"""NetProbe v1alpha1: what the network does between nodes, and from a node to a target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from .base import Contract, Label, StringMap, Text63, Text253, cel, list_map, rules
from .kube import Environment, Exclusivity, Execution, ObjectMeta, Results, Status, Timestamp, Toleration, immutable

BITRATE = r"^\d{1,6}(\.\d{1,3})?[KMG]?$"


PEER_TYPES = ("TCPLatency", "TCPConnect", "UDPLatency", "Throughput")
TARGET_TYPES = ("TCPConnect", "HTTPGet", "DNSLookup")
FEW, ENOUGH = 5, 10  # seconds that latency and throughput take where nothing is said


class ProbeTarget(Contract):
    """What lies outside: an address, a page, or names to look up."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.url) || has(self.host) || has(self.names)", "target needs url, host (with port) or names"),
            cel("!has(self.host) || has(self.port)", "host needs port"),
        )
    )
    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s@]+$")] | None = Field(
        default=None, description="http or https, without a login."
    )
    host: Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9.:_-]+$")] | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    names: Annotated[list[Text253], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="DNSLookup: what to look up, absolute."
    )
    nameserver: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-fA-F.:]+$")] | None = Field(
        default=None, description="DNSLookup: an address; unset asks what the pod would ask."
    )

    @model_validator(mode="after")
    def _named(self) -> ProbeTarget:
        if self.url is None and self.host is None and self.names is None:
            raise ValueError("target needs url, host (with port) or names")
        if self.host is not None and self.port is None:
            raise ValueError("host needs port")
        return self


class ProbeTest(Contract):
    """One measurement, made on every pair of nodes; of a target, from every node."""

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
            cel(
                "!(self.type in ['HTTPGet', 'DNSLookup']) || has(self.target)",
                "HTTPGet and DNSLookup need target",
            ),
            cel(
                "!has(self.path) || ((self.path == 'PodToTarget') == has(self.target))",
                "target and path PodToTarget go together",
            ),
            cel(
                "!has(self.target) || self.type in ['TCPConnect', 'HTTPGet', 'DNSLookup']",
                "a target is measured by TCPConnect, HTTPGet or DNSLookup",
            ),
        )
    )
    name: Label
    type: Literal["TCPLatency", "TCPConnect", "UDPLatency", "Throughput", "HTTPGet", "DNSLookup"]
    path: Literal["PodToPod", "PodToService", "NodeToNode", "PodToTarget"] | None = Field(
        default=None, description="Default: PodToPod; PodToTarget with a target."
    )
    target: ProbeTarget | None = None
    duration_seconds: Annotated[int, Field(ge=1, le=3600)] | None = Field(
        default=None, description="Counted. Default: 5, throughput 10."
    )
    warmup_seconds: Annotated[int, Field(ge=0, le=600)] = Field(default=1, description="Latency: not counted.")
    message_bytes: Annotated[int, Field(ge=16, le=65_507)] = Field(default=64, description="Latency: size each way.")
    rate_hz: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="Messages, connections, requests or lookups a second; unset: TCPLatency back to back, UDPLatency 200, TCPConnect 100, HTTPGet and DNSLookup 5.",
    )
    protocol: Literal["TCP", "UDP"] = "TCP"
    direction: Literal["Forward", "Reverse", "Bidirectional"] = "Forward"
    parallel_streams: Annotated[int, Field(ge=1, le=128)] = 1
    omit_seconds: Annotated[int, Field(ge=0, le=600)] | None = Field(
        default=None, description="Throughput: start-up left out of the figure; default 3, or less in short tests."
    )
    ping_beside: bool = Field(
        default=False, description="Throughput: round trips while it flows, what bufferbloat does to everybody else."
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
        if self.type in ("HTTPGet", "DNSLookup") and self.target is None:
            raise ValueError("HTTPGet and DNSLookup need target")
        if self.path is not None and (self.path == "PodToTarget") != (self.target is not None):
            raise ValueError("target and path PodToTarget go together")
        if self.target is not None and self.type not in TARGET_TYPES:
            raise ValueError("a target is measured by TCPConnect, HTTPGet or DNSLookup")
        needed = {"HTTPGet": "url", "DNSLookup": "names"}.get(self.type)
        if needed is not None and self.target is not None and getattr(self.target, needed) is None:
            raise ValueError(f"{self.type} needs target.{needed}")
        return self

    @property
    def way(self) -> str:
        """The path, said or meant."""
        return self.path or ("PodToTarget" if self.target else "PodToPod")

    @property
    def seconds(self) -> int:
        """Counted length of the test in seconds."""
        return self.duration_seconds or (ENOUGH if self.type == "Throughput" else FEW)

    @property
    def omitted_seconds(self) -> int:
        """Start-up of a throughput test that is not counted, in seconds."""
        return self.omit_seconds if self.omit_seconds is not None else min(3, self.seconds // 3)


class Placement(Contract):
    topology: Literal["SameNode", "DifferentNode", "DifferentZone", "Mesh"] = Field(
        default="DifferentNode",
        description="SameNode: each node with itself. DifferentNode, DifferentZone: disjoint pairs. Mesh: every pair, in rounds of disjoint ones. All but SameNode begin with one node against itself, the floor of the tool.",
    )
    node_selector: StringMap | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    max_nodes: Annotated[int, Field(ge=1, le=64)] = 16


class Pairs(Contract):
    model_config = ConfigDict(
        json_schema_extra=rules(cel("self.selection != 'Sample' || has(self.count)", "selection Sample needs count"))
    )
    selection: Literal["All", "RoundRobin", "Sample"] = Field(
        default="All",
        description="Of a mesh: all pairs, two rounds (every node in both roles), or a seeded sample of count.",
    )
    count: Annotated[int, Field(ge=1, le=4096)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(default=1, description="Of the order of nodes and tests.")
    max_concurrent: Annotated[int, Field(ge=1, le=32)] = 1

    @model_validator(mode="after")
    def _count_for_sample(self) -> Pairs:
        if self.selection == "Sample" and self.count is None:
            raise ValueError("selection Sample needs count")
        return self


class ProbeObjective(Contract):
    """A limit that the worst pair has to keep; durations in microseconds, loss in parts per million."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.maxMicroseconds), has(self.minMegabitsPerSecond), has(self.maxPartsPerMillion), has(self.maxCount)].filter(x, x).size() == 1",
                "an objective has one limit",
            )
        )
    )
    metric: Literal[
        "rtt", "connect", "first_byte", "tls", "lookup", "loaded_rtt", "throughput", "retransmits", "loss", "jitter"
    ]
    statistic: Literal["p50", "p90", "p99", "mean", "max"] = "p99"
    max_microseconds: Annotated[int, Field(ge=1, le=86_400_000_000)] | None = None
    min_megabits_per_second: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_parts_per_million: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_count: Annotated[int, Field(ge=0, le=2**53)] | None = None
    on_violation: Literal["Report", "Fail"] = "Report"

    @model_validator(mode="after")
    def _one_limit(self) -> ProbeObjective:
        limits = (self.max_microseconds, self.min_megabits_per_second, self.max_parts_per_million, self.max_count)
        if sum(limit is not None for limit in limits) != 1:
            raise ValueError("an objective has one limit")
        return self


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
    repetitions: Annotated[int, Field(ge=1, le=20)] = Field(
        default=6, description="Six give a median a 95 % interval; fewer give none."
    )
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
    """One test on one pair, medians over the repetitions: integers only."""

    test: Text63
    source_node: Text253
    target_node: Text253 | None = None
    source_zone: Text63 | None = None
    target_zone: Text63 | None = None
    path: Text63 = "PodToPod"
    direction: Text63 | None = None
    streams: int | None = None
    rtt_nanoseconds_p50: int | None = None
    rtt_nanoseconds_p90: int | None = None
    rtt_nanoseconds_p99: int | None = None
    connect_nanoseconds_p50: int | None = None
    connect_nanoseconds_p99: int | None = None
    first_byte_nanoseconds_p50: int | None = None
    tls_nanoseconds_p50: int | None = None
    lookup_nanoseconds_p50: int | None = None
    loaded_rtt_nanoseconds_p50: int | None = None
    loaded_rtt_nanoseconds_p99: int | None = None
    throughput_bits_per_second: int | None = None
    reverse_throughput_bits_per_second: int | None = None
    retransmits: int | None = None
    loss_parts_per_million: int | None = None
    jitter_nanoseconds: int | None = None
    failures: int | None = None
    low: int | None = Field(default=None, description="95 % interval of the test's first figure.")
    high: int | None = None
    repetitions: int | None = None


class PairStatus(Contract):
    """One visit: two nodes (one, where only targets are measured), which tests, and how far it is."""

    index: Annotated[int, Field(ge=1, le=4096)]
    round: Annotated[int, Field(ge=0, le=4096)] = 0
    source_node: Text253
    target_node: Text253 | None = None
    source_zone: Text63 | None = None
    target_zone: Text63 | None = None
    tests: list[Text63] | None = Field(default=None, description="Those of this visit; all where unset.")
    host_network: bool = False
    state: Literal["Pending", "Running", "Completed", "Failed"] = "Pending"
    verdict: Literal["valid", "degraded", "invalid"] | None = None
    message: Annotated[str, Field(max_length=512)] | None = None


class ProbeObjectiveStatus(Contract):
    """How the worst pair stands to a limit."""

    metric: Text63
    statistic: Text63
    met: Literal["True", "False", "Unknown"]
    worst: int | None = None
    pair: Annotated[str, Field(max_length=512)] | None = None


class ProbeStatus(Status):
    admitted_at: Timestamp | None = Field(default=None, description="Since when it measures; absent: it does not.")
    refused_since: Timestamp | None = None
    pairs_total: Annotated[int, Field(ge=0)] | None = None
    pairs_completed: Annotated[int, Field(ge=0)] | None = None
    pairs_failed: Annotated[int, Field(ge=0)] | None = None
    pairs_of: Annotated[int, Field(ge=0)] | None = Field(default=None, description="How many pairs the topology has.")
    chosen: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="How, where it is not all.")
    pairs_progress: Annotated[str, Field(max_length=32)] | None = None
    pairs: Annotated[list[PairStatus], Field(max_length=256, json_schema_extra=list_map("index"))] | None = None
    environment: StringMap | None = None
    progress: Annotated[str, Field(max_length=256)] | None = None
    rtt_p99_microseconds: int | None = Field(default=None, description="Worst pair.")
    throughput_median_megabits_per_second: int | None = None
    worst: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="The pair of the highest p99."
    )
    objectives: Annotated[list[ProbeObjectiveStatus], Field(max_length=16)] | None = None
    summary: Annotated[list[ProbeSummary], Field(max_length=256)] | None = None


class NetProbe(Contract):
    api_version: Literal["tokenmark.dev/v1alpha1"]
    kind: Literal["NetProbe"]
    metadata: ObjectMeta
    spec: NetProbeSpec
    status: ProbeStatus | None = None
