"""The status of a NetProbe: its visits, and what they come to; integers only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Contract, StringMap, Text63, Text253, list_map
from .kube import Status, Timestamp


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


OVER = ("Completed", "Failed")  # states of a visit that nothing more comes of


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
    summary_of: int | None = Field(default=None, description="How many rows there are, where not all stand here.")
    summary: Annotated[list[ProbeSummary], Field(max_length=256)] | None = None
