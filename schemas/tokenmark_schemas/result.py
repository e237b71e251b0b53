"""`run-result/v1`: what a run found, in SI units, with the error of its own instrument.

Absent is null, never zero: a percentile with too few samples is null and named in `withheld`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .base import Contract
from .cost import RunCost
from .network import Network
from .quality import StageQuality
from .workload import Stage


class Stat(Contract):
    """Summary of one metric over one stage. `withheld` names the statistics with too few samples above them.

    `precision` is `three_digits` where there were too many values to keep each (mean, spread and extremes stay exact).
    `ci95_*` are bootstrap intervals over repetitions and requests, `spread_*` the range of the repetitions' own values
    as a share of their median. `infinite` names percentiles of `*_inclusive` metrics that fall among requests without an
    answer. `bounds_*` tell between what and what a percentile lies where chunks shared an arrival stamp.
    """

    unit: str
    count: int
    precision: Literal["exact", "three_digits"] = "exact"
    mean: float | None = None
    stddev: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    ci95_p50: tuple[float, float] | None = None
    ci95_p99: tuple[float, float] | None = None
    spread_p50: float | None = None
    spread_p99: float | None = None
    bounds_p50: tuple[float, float] | None = None
    bounds_p99: tuple[float, float] | None = None
    withheld: list[str] = []
    infinite: list[str] = []


class Rerun(Contract):
    """A repetition that lay apart and was measured again: its own value, the median of all with it, and the new value."""

    stage: str
    repetition: int
    metric: str
    value: float
    median: float
    again: float | None


class RunFacts(Contract):
    """Null times are an imported run's whose tool does not tell them."""

    name: str
    namespace: str
    uid: str
    attempt: int
    repetitions: int
    started_at: str | None
    ended_at: str | None
    purpose: str | None = None
    interrupted: bool = False
    reruns: list[Rerun] = Field(default=[], description="Repetitions that were measured again in their place.")


class Reason(Contract):
    """Why a verdict is not `valid`: what was measured, and the limit it crossed."""

    code: str
    message: str
    value: float | None = None
    limit: float | None = None
    stage: str | None = None


class Verdict(Contract):
    """`unknown`: another tool measured it, and its own error was not."""

    state: Literal["valid", "degraded", "invalid", "unknown"]
    reasons: list[Reason] = []


class Phase(Contract):
    requests: int
    failed: int
    duration_s: float | None
    errors: dict[str, int] = {}


class Phases(Contract):
    warmup: Phase | None
    measured: Phase


class Window(Contract):
    """What is null was not told by the tool that measured. Seconds: from the first request due to the last one due, the part of it in steady state, and the drain after."""

    started_at: str | None
    duration_s: float | None
    steady_s: float | None
    drain_s: float | None
    ended_early: str | None = Field(default=None, description="The stop rule that ended it, in words.")


class Requests(Contract):
    due: int
    sent: int
    succeeded: int
    failed: int
    cancelled: int
    errors: dict[str, int] = {}
    error_messages: dict[str, str] = Field(
        default={}, description="What the first failure of each class said, at most 300 characters."
    )
    unstreamed: int | None = Field(default=None, description="Answers in one piece where a stream was asked for.")
    failing_most: int | None = Field(default=None, description="The longest run of failures, one after the other.")

    @property
    def success_rate(self) -> float | None:
        """Succeeded / ended; None where none ended."""
        ended = self.succeeded + self.failed
        return self.succeeded / ended if ended else None


class TokenCounts(Contract):
    prompt: int | None
    output: int | None
    max_output: int | None
    asked: int | None = Field(default=None, description="The most tokens that the requests allowed, together.")
    output_source: Literal["usage", "tokenizer", "chunks", "mixed"] | None
    mismatches: int | None
    cached: int | None = Field(default=None, description="Prompt tokens that the engine took from its prefix cache.")
    reasoning: int | None = Field(default=None, description="Output tokens that the engine counts as reasoning.")


class StageThroughput(Contract):
    """Per second: over the steady window, and over the whole window beside it (`*_whole`)."""

    requests_per_s: float | None
    output_tokens_per_s: float | None
    total_tokens_per_s: float | None
    good_output_tokens_per_s: float | None = Field(
        default=None, description="Of requests that met every objective; null where there are none."
    )
    requests_per_s_whole: float | None
    output_tokens_per_s_whole: float | None


class Lag(Contract):
    """Seconds. `tail` is the highest percentile, p99 at most, that five samples lie above: what the verdict judges."""

    p50: float | None = None
    p99: float | None = None
    tail: float | None = None
    max: float | None = None


class Coalesced(Contract):
    """Reads that completed more than one chunk: their earlier chunks carry the last one's stamp.

    `first_tokens` counts the requests whose first token is among them: see the metrics' `bounds_*`.
    """

    reads: int
    first_tokens: int = 0
    share: float
    tail_s: float | None = Field(default=None, description="How late the stamp may be for the earlier chunks, tail.")
    max_interval_s: float


class Client(Contract):
    """The instrument's own error, measured while it measured."""

    cpu_us_per_token: float | None
    cores: float
    busiest_cores: float = Field(default=0.0, description="Of the busiest worker, while it sent.")
    read_lag: Lag
    coalesced: Coalesced
    send_lag: Lag
    loop_lag_max_s: float
    away_s: float = Field(default=0.0, description="Absences of more than five milliseconds, together.")
    gc_pause_max_s: float
    stamp_fallbacks: int
    reads: int = 0
    clock_steps: int = Field(default=0, description="How often the realtime clock was set while load ran.")
    run_delay_s: float | None = Field(
        default=None,
        description="How long a worker was ready to run and had no processor; of several, the one that waited longest.",
    )
    stale_connections: int = Field(
        default=0, description="Kept connections that the server had closed without saying so; sent again on new ones."
    )
    workers: int
    pods: int = 1
    clock_uncertainty_s: float | None = Field(
        default=None, description="How well the pods' clocks are known against each other, the worst of them."
    )
    start_skew_s: float | None = Field(default=None, description="From the first worker's beginning to the last one's.")
    backlog_max_bytes: int
    calibration: dict[str, float] | None = None


class RepetitionMetric(Contract):
    """`se_*` are standard errors: how far a percentile may lie from that of endlessly many requests of this repetition."""

    count: int
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    se_p50: float | None = None
    se_p90: float | None = None
    se_p95: float | None = None
    se_p99: float | None = None


class Repetition(Contract):
    index: int
    order: int
    output_tokens_per_s: float | None
    requests_per_s: float | None
    succeeded: int
    failed: int
    recall: float | None = None
    searches: int = 0
    metrics: dict[str, RepetitionMetric]


class GpuUse(Contract):
    """Of the GPUs behind the target while the stage ran: utilisation is their mean, memory and power are their sums."""

    source: Literal["nvml", "dcgm"]
    count: int | None = None
    utilization_avg: float | None = None
    utilization_peak: float | None = None
    memory_avg_bytes: float | None = None
    memory_peak_bytes: float | None = None
    power_w: float | None = None
    samples: int
    interval_s: float


class HostUse(Contract):
    """Of the target's machine while the stage ran, from a laptop's /proc the client's part with it. `cpu_*` are shares of all
    processors; `swapped_bytes` went in or out of swap, `throttles` counts how often a processor slowed down for heat."""

    source: Literal["proc", "node-exporter"]
    cpu_avg: float | None = None
    cpu_peak: float | None = None
    memory_avg_bytes: float | None = None
    memory_peak_bytes: float | None = None
    memory_total_bytes: float | None = None
    swap_peak_bytes: float | None = None
    swapped_bytes: int | None = None
    temperature_peak_celsius: float | None = None
    clock_avg_hz: float | None = None
    throttles: int | None = None
    energy_j: float | None = Field(default=None, description="Of the processors' packages, while the stage ran (RAPL).")
    samples: int
    interval_s: float


class StageResources(Contract):
    gpu: GpuUse | None = None
    host: HostUse | None = None


class TurnResult(Contract):
    """The answers to one turn of conversations, counted from 1; token counts are means a request."""

    turn: int
    count: int
    ttft: Stat
    e2e: Stat
    prompt_tokens: float | None
    cached_tokens: float | None


class Traffic(Contract):
    """Bytes of the answers that came whole and of their requests, as sent and as read (TLS: sealed, opened). `stalled`
    requests waited for segments that the network had lost to be sent again, `stalled_s` together; null where no kernel tells."""

    sent_bytes: int
    received_bytes: int
    stalled: int | None
    stalled_s: float | None


class OperationResult(Contract):
    """Of one kind of call to a database. `recall`: of the nearest vectors, the share that each search found."""

    name: str
    kind: str
    failed: int
    e2e: Stat
    e2e_scheduled: Stat
    searches: bool = Field(default=False, description="Whether it looks for the nearest vectors.")
    recall: Stat | None = None


class DatabaseFacts(Contract):
    """What the run filled a database with, and what that took. Null: the server does not tell."""

    records: int
    dimensions: int
    index: str
    load_s: float
    index_s: float | None = Field(default=None, description="Building the index, where it is built after loading.")
    index_bytes: int | None = None
    data_bytes: int | None = None
    left: str | None = Field(default=None, description="What could not be removed at the end.")


class StageResult(Contract):
    """One load level. `load` and `client` are null where another tool measured and does not tell them."""

    name: str
    load: Stage | None
    window: Window
    requests: Requests
    tokens: TokenCounts
    metrics: dict[str, Stat]
    steps: dict[str, Stat] | None = Field(
        default=None,
        description="Of a pipeline, before the first token, as the service tells them; `other` is what of TTFT none explains, where "
        "that is more than a hundredth of it for some request.",
    )
    retrieved: Stat | None = Field(default=None, description="Passages that each answer was made from.")
    operations: list[OperationResult] | None = None
    quality: StageQuality | None = None
    resources: StageResources | None = None
    throughput: StageThroughput
    traffic: Traffic | None = None
    goodput: float | None = Field(default=None, description="Requests that met every objective / requests due.")
    client: Client | None
    server: dict[str, float] | None = Field(
        default=None, description="The engine's own: counters as growth, the rest as mean and `*_peak` while load ran."
    )
    server_dropped: str | None = Field(default=None, description="Why the engine's counters are left out.")
    repetitions: list[Repetition] = []
    turns: list[TurnResult] | None = None

    @property
    def worst_recall(self) -> float | None:
        """Of several kinds of search, the mean of the one that found the fewest; None where nothing was searched."""
        found = [each.recall.mean for each in self.operations or [] if each.recall and each.recall.mean is not None]
        return min(found, default=None)


class MeasuredWindow(Window):
    started_at: str
    duration_s: float
    drain_s: float


class MeasuredRequests(Requests):
    unstreamed: int = 0
    failing_most: int = 0


class MeasuredTokens(TokenCounts):
    output: int
    max_output: int
    mismatches: int
    asked: int = 0
    reasoning: int = 0


class MeasuredStage(StageResult):
    """A stage that this tool measured: what an imported one may lack is there."""

    load: Stage
    window: MeasuredWindow
    requests: MeasuredRequests
    tokens: MeasuredTokens
    client: Client


class ObjectiveResult(Contract):
    metric: str
    statistic: str
    stage: str
    limit: float
    value: float | None
    unit: str
    met: Literal["true", "false", "unknown"]
    reason: str | None = None
    on_violation: Literal["Report", "Fail"]


class SearchStep(Contract):
    stage: str
    level: float
    met: bool


class SearchResult(Contract):
    """The highest load that met every objective, and the lowest that did not (`upper`): the truth lies between.

    `knee` is where throughput stopped growing with load, as far as the levels tried can tell.
    """

    find: Literal["MaxConcurrency", "MaxRate"]
    unit: Literal["streams", "requests/s"]
    answer: float | None
    upper: float | None
    confirmed: bool
    knee: float | None
    steps: list[SearchStep]
    message: str


class ToolFacts(Contract):
    name: str
    version: str
    image_digest: str | None = None
    python: str | None
    kernel: str | None


class EngineFacts(Contract):
    """`reported_model` stood in the answers; the rest is what the engine tells when asked."""

    name: str
    version: str | None = None
    reported_model: str | None = None
    served_model: str | None = None
    max_model_len: int | None = None
    quantization: str | None = None
    dtype: str | None = None


class WorkloadFacts(Contract):
    name: str
    version: int | None = None
    hash: str | None


class Provenance(Contract):
    vantage: Literal["in_cluster", "north_south", "local"] | None
    tool: ToolFacts
    engine: EngineFacts
    environment: dict[str, str]
    unknown: list[str] = Field(default=[], description="What could not be found of the environment and of the engine.")
    workload: WorkloadFacts
    spec_hash: str | None
    fingerprint: str
    fingerprint_fields: dict[str, Any] = Field(
        default={}, description="What it is made of: equal where two results compare."
    )
    seed: int | None
    images: dict[str, str] = {}
    stamps: Literal["kernel", "user"] | None

    @property
    def model(self) -> str:
        """The one that was asked for, else what the engine reported; empty where neither is known."""
        return str(self.fingerprint_fields.get("model") or self.engine.reported_model or "")


class Imported(Contract):
    """Whose measurement this is. `definitions` says, by metric, what its words are here, where they are not the same;
    `refused` what it prints that has no meaning here."""

    tool: str
    version: str | None = None
    files: dict[str, str] = Field(description="sha256 by file name.")
    definitions: dict[str, str] = {}
    refused: dict[str, str] = {}


class RunResult(Contract):
    schema_version: Literal["run-result/v1"] = "run-result/v1"
    run: RunFacts
    verdict: Verdict
    phases: Phases
    stages: list[StageResult]
    objectives: list[ObjectiveResult] = []
    search: SearchResult | None = None
    cost: RunCost | None = None
    network: Network | None = None
    database: DatabaseFacts | None = None
    baseline: dict[str, Any] | None = None
    imported: Imported | None = Field(default=None, description="Of a run that another tool measured.")
    provenance: Provenance


class TerminationStage(Contract):
    stage: str
    requests: int
    failed: int
    ttft_p50_us: int | None = None
    ttft_p99_us: int | None = None
    tpot_p50_us: int | None = None
    output_tokens_per_s_milli: int | None = None


class TerminationSummary(Contract):
    """What a runner leaves in its pod's termination message (at most 4096 bytes): the safety net of the results."""

    schema_version: Literal["termination/v1"] = "termination/v1"
    outcome: Literal["completed", "failed", "interrupted"]
    exit_code: int
    message: str = ""
    result_sha256: str | None = None
    verdict: str | None = None
    lost_pod: int | None = Field(default=None, description="The index of the runner pod whose loss ended the run.")
    missing_pod: int | None = Field(default=None, description="The index of a runner pod that never came.")
    stages: list[TerminationStage] = []
