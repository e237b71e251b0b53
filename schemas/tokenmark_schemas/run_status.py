"""The status of a BenchmarkRun: what `kubectl get`, `/metrics` and the next life of the operator read. Integers only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Contract, StringMap, Text63, Text253, Text1024, list_map
from .kube import Status, Timestamp


class Quantiles(Contract):
    p50: int | None = None
    p90: int | None = None
    p95: int | None = None
    p99: int | None = None


class StepSummary(Contract):
    step: Text63
    microseconds: Quantiles = Quantiles()


class StageSummary(Contract):
    """What `kubectl get` and `/metrics` read: integers only (microseconds, thousandths per second, per mille)."""

    stage: Text63
    requests: Annotated[int, Field(ge=0)] = 0
    failed: Annotated[int, Field(ge=0)] = 0
    cancelled: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)] = 0
    ttft_microseconds: Quantiles = Quantiles()
    ttft_scheduled_microseconds: Quantiles = Quantiles()
    tpot_microseconds: Quantiles = Quantiles()
    itl_microseconds: Quantiles = Quantiles()
    e2e_microseconds: Quantiles = Field(default=Quantiles(), alias="e2eMicroseconds")
    steps: Annotated[list[StepSummary], Field(max_length=17)] = []
    host_cpu_per_mille: int | None = Field(default=None, description="Of the target's machine: busy share, average.")
    gpu_per_mille: int | None = Field(default=None, description="Of the GPUs behind the target: busy share, average.")
    output_tokens_per_second_milli: int | None = None
    requests_per_second_milli: int | None = None
    goodput_per_mille: int | None = None
    recall_per_mille: int | None = Field(
        default=None, description="Of the search that found the fewest of the nearest."
    )
    network_ttft_per_mille: int | None = Field(default=None, description="Of the mean TTFT, what the network explains.")
    network_tpot_per_mille: int | None = None
    client_read_lag_microseconds: int | None = Field(default=None, description="The instrument's own, see the verdict.")
    client_send_lag_microseconds: int | None = None
    client_cores_milli: int | None = None
    cost_micros_per_million_output_tokens: int | None = Field(
        default=None, description="Millionths of the currency of status.cost."
    )


class CostSummary(Contract):
    """What the run's own hours cost, in millionths of the currency."""

    currency: Annotated[str, Field(max_length=3)]
    run_micros: int
    per_hour_micros: int
    example: bool = Field(default=False, description="The price is nobody's offer.")


class ObjectiveOutcome(Contract):
    metric: Text63
    statistic: Text63
    stage: Text63
    met: Literal["True", "False", "Unknown"]


class ComparedLine(Contract):
    """One line of the comparison with the baseline; changes in thousandths, of the success rate in thousandths of all."""

    stage: Text63
    metric: Text63
    statistic: Text63 | None = None
    gate: bool
    outcome: Literal["OK", "IMPROVED", "REGRESSED", "INCONCLUSIVE"]
    change_per_mille: int | None = None
    low_per_mille: int | None = None
    high_per_mille: int | None = None


class Attempt(Contract):
    """One Job. Intent is recorded (state Creating) before the Job is created."""

    number: Annotated[int, Field(ge=1, le=99)]
    job_name: Text63
    job_uid: Annotated[str, Field(max_length=64)] | None = Field(default=None, alias="jobUID")
    pod_uid: Annotated[str, Field(max_length=64)] | None = Field(default=None, alias="podUID")
    node: Text253 | None = None
    state: Literal["Creating", "Pending", "Running", "Succeeded", "Failed", "Disrupted"]
    reason: Text63 | None = None
    message: Text1024 | None = None
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    load_ends_by: Timestamp | None = Field(
        default=None, description="The runner stops its load by itself no later than this."
    )


class Headline(Contract):
    """The last stage in words, for `kubectl get`: an integer of microseconds is for programs."""

    ttft_p99: Text63 | None = Field(default=None, alias="ttftP99")
    tpot_p99: Text63 | None = Field(default=None, alias="tpotP99")
    output_tokens_per_second: Text63 | None = None


class Queue(Contract):
    position: Annotated[int, Field(ge=1)]
    blocked_by: Annotated[str, Field(max_length=253)]


class RunStatus(Status):
    attempts: Annotated[list[Attempt], Field(max_length=16, json_schema_extra=list_map("number"))] | None = None
    admitted_at: Timestamp | None = Field(
        default=None, description="Since when it holds its target; absent: it does not."
    )
    target_nodes: Annotated[list[Text253], Field(max_length=16)] | None = None
    not_stored_since: Timestamp | None = None
    queue: Queue | None = None
    target_missing_since: Timestamp | None = None
    net_probe_missing_since: Timestamp | None = None
    environment: StringMap | None = None
    fingerprint: Annotated[str, Field(max_length=64)] | None = None
    workload_hash: Annotated[str, Field(max_length=64)] | None = None
    workload_name: Text63 | None = None
    progress: Annotated[str, Field(max_length=256)] | None = None
    headline: Headline | None = None
    summary: Annotated[list[StageSummary], Field(max_length=32, json_schema_extra=list_map("stage"))] | None = None
    cost: CostSummary | None = None
    objectives: Annotated[list[ObjectiveOutcome], Field(max_length=1024)] | None = None
    comparison: Annotated[list[ComparedLine], Field(max_length=256)] | None = Field(
        default=None, description="With spec.baselineRef: gates, what moved, and p50 and p99 of the rest."
    )
