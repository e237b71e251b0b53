"""NetProbe v1alpha1: what the network does between nodes, and from a node to a target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from .base import Contract, Label, StringMap, Text253, cel, list_map, rules
from .kube import Environment, Exclusivity, Execution, ObjectMeta, Results, Toleration, immutable
from .probe_status import ProbeStatus

BITRATE = r"^\d{1,6}(\.\d{1,3})?[KMG]?$"


PEER_TYPES = ("TCPLatency", "TCPConnect", "UDPLatency", "Throughput")
TARGET_TYPES = ("TCPConnect", "HTTPGet", "DNSLookup")
MAX_DATAGRAM = 65_507
UDP_BLOCK = "blockBytes of a UDP test must fit into a datagram: at most 65507"
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
            cel("self.type != 'HTTPGet' || !has(self.target) || has(self.target.url)", "HTTPGet needs target.url"),
            cel(
                "self.type != 'DNSLookup' || !has(self.target) || has(self.target.names)",
                "DNSLookup needs target.names",
            ),
            cel(
                "self.type != 'TCPConnect' || !has(self.target) || has(self.target.host)",
                "TCPConnect needs target.host",
            ),
            cel("self.protocol != 'UDP' || !has(self.blockBytes) || self.blockBytes <= 65507", UDP_BLOCK),
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
    reply_bytes: Annotated[int, Field(ge=16, le=65_507)] | None = Field(
        default=None, description="TCPLatency: of the answer; unset: as the message."
    )
    rate_hz: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="Messages, connections, requests or lookups a second; unset: TCPLatency back to back, UDPLatency 200, TCPConnect 100, HTTPGet and DNSLookup 20.",
    )
    protocol: Literal["TCP", "UDP"] = "TCP"
    direction: Literal["Forward", "Reverse", "Bidirectional"] = "Forward"
    parallel_streams: Annotated[int, Field(ge=1, le=128)] = 1
    omit_seconds: Annotated[int, Field(ge=0, le=60)] | None = Field(
        default=None, description="Throughput: start-up left out of the figure; default 3, or less in short tests."
    )
    ping_beside: bool = Field(
        default=False, description="Throughput: round trips while it flows, what bufferbloat does to everybody else."
    )
    block_bytes: Annotated[int, Field(ge=64, le=1_048_576)] | None = Field(
        default=None,
        description="Throughput: handed to the kernel at once; unset: 131072, of UDP what fits into a packet.",
    )
    window_bytes: Annotated[int, Field(ge=1024, le=536_870_912)] | None = None
    mss_bytes: Annotated[int, Field(ge=88, le=9216)] | None = None
    congestion_control: Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9_]+$")] | None = None
    bitrate: Annotated[str, Field(max_length=12, pattern=BITRATE)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ProbeTest:
        if self.type == "Throughput" and self.protocol == "UDP" and self.bitrate is None:
            raise ValueError("a UDP throughput test needs bitrate: iperf3 would send 1 Mbit/s")
        if self.protocol == "UDP" and self.block_bytes is not None and self.block_bytes > MAX_DATAGRAM:
            raise ValueError(UDP_BLOCK)
        if self.omit_seconds is not None and self.omit_seconds >= self.seconds:
            raise ValueError("omitSeconds must be below durationSeconds")
        if self.type in ("HTTPGet", "DNSLookup") and self.target is None:
            raise ValueError("HTTPGet and DNSLookup need target")
        if self.path is not None and (self.path == "PodToTarget") != (self.target is not None):
            raise ValueError("target and path PodToTarget go together")
        if self.target is not None and self.type not in TARGET_TYPES:
            raise ValueError("a target is measured by TCPConnect, HTTPGet or DNSLookup")
        needed = {"HTTPGet": "url", "DNSLookup": "names", "TCPConnect": "host"}.get(self.type)
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
    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.sourceNode) || !has(self.targetNodes)", "targetNodes needs sourceNode", path=".targetNodes")
        )
    )
    topology: Literal["SameNode", "DifferentNode", "DifferentZone", "Mesh"] = Field(
        default="DifferentNode",
        description="SameNode: each node with itself. DifferentNode, DifferentZone: disjoint pairs. Mesh: every pair, in rounds of disjoint ones. All but SameNode begin with one node against itself, the floor of the tool.",
    )
    node_selector: StringMap | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    max_nodes: Annotated[int, Field(ge=1, le=64)] = 16
    source_node: Text253 | None = Field(
        default=None, description="Pairs by name, from this node to targetNodes; topology is not looked at."
    )
    target_nodes: Annotated[list[Text253], Field(min_length=1, max_length=16)] | None = None

    @model_validator(mode="after")
    def _pair(self) -> Placement:
        if self.target_nodes is not None and self.source_node is None:
            raise ValueError("targetNodes needs sourceNode")
        return self


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


LIMITS = ("max_microseconds", "min_megabits_per_second", "max_parts_per_million", "max_count")
LIMIT_OF = {"throughput": "min_megabits_per_second", "loss": "max_parts_per_million", "retransmits": "max_count"}


class ProbeObjective(Contract):
    """A limit that the worst pair has to keep; durations in microseconds, loss in parts per million."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.maxMicroseconds), has(self.minMegabitsPerSecond), has(self.maxPartsPerMillion), has(self.maxCount)].filter(x, x).size() == 1",
                "an objective has one limit",
            ),
            *[
                cel(
                    f"self.metric != '{metric}' || has(self.{to_camel(limit)})",
                    f"{metric} is limited by {to_camel(limit)}",
                )
                for metric, limit in LIMIT_OF.items()
            ],
            cel(
                f"self.metric in {sorted(LIMIT_OF)} || has(self.maxMicroseconds)",
                "durations are limited by maxMicroseconds",
            ),
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
        fitting = LIMIT_OF.get(self.metric, "max_microseconds")
        if [name for name in LIMITS if getattr(self, name) is not None] != [fitting]:
            raise ValueError(f"an objective of {self.metric} has one limit: {to_camel(fitting)}")
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


class NetProbe(Contract):
    api_version: Literal["tokenmark.dev/v1alpha1"]
    kind: Literal["NetProbe"]
    metadata: ObjectMeta
    spec: NetProbeSpec
    status: ProbeStatus | None = None
