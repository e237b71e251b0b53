"""`matrix-result/v1`: models of a machine by quantisation and use, each cell a run, and what was not run with its reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from .base import Contract
from .quality import KindShare
from .ratings import Word

CellState = Literal["waiting", "running", "done", "skipped", "failed"]


class MatrixLimits(Contract):
    """When to give up on a model. A trial of a few tokens goes before everything else."""

    load_s: Annotated[int, Field(ge=1, le=86_400)] = Field(default=300, description="Until the server answers.")
    ttft_s: Annotated[int, Field(ge=1, le=3600)] = Field(default=30, description="Until the first token of an answer.")
    tokens_per_s: Annotated[float, Field(ge=0)] = Field(default=2.0, description="Of an answer, at least.")
    celsius: Annotated[int, Field(ge=40, le=120)] = Field(default=90, description="Of the machine, in a stress test.")

    @property
    def request_s(self) -> int:
        """Until a whole answer: a first token that may take long leaves as much again for the rest."""
        return max(600, 2 * self.ttft_s)


class ServerFacts(Contract):
    """What one start of a server came to; null: it did not get so far. `way` tells how it was started, where several were compared. `needed_bytes` was worked out before, `held_bytes` is what it held after its
    last cell."""

    model: str
    quantization: str
    context: int
    streams: int
    way: str = ""
    needed_bytes: int | None = None
    held_bytes: int | None = None
    load_s: float | None = None
    trial_ttft_s: float | None = None
    trial_tokens_per_s: float | None = None


class MatrixRow(Contract):
    """A cell. Seconds and bytes; null where it was not measured. `kept` is the speed of the last third of the requests as a share of that of the first."""

    cell: str
    model: str
    quantization: str
    profile: str
    part: str | None
    way: str = Field(
        default="",
        description="How the server was started, where several ways are compared: t2 threads, g0 layers on GPUs, c8192 tokens of context.",
    )
    threads: int | None = None
    gpu_layers: int | None = None
    context: int | None = Field(default=None, description="Tokens that the server keeps for a stream.")
    state: CellState
    reason: str | None = None
    verdict: str | None = Field(
        default=None, description="Of these means; that a run has too few answers for percentiles is no matter here."
    )
    doubt: str | None = Field(default=None, description="The first reason of a verdict that is not valid.")
    rating: Word | None = None
    file_bytes: int | None = None
    parameters: int | None = None
    needed_bytes: int | None = None
    held_bytes: int | None = None
    load_s: float | None = None
    requests: int | None = None
    failed: int | None = None
    ttft_mean_s: float | None = None
    tpot_mean_s: float | None = None
    e2e_mean_s: float | None = None
    tokens_per_s: float | None = Field(default=None, description="Of one answer: 1 / mean TPOT.")
    output_tokens_per_s: float | None = None
    prefill_tokens_per_s: float | None = Field(default=None, description="Prompt tokens / sum of TTFT.")
    per_hour: float | None = Field(
        default=None,
        description="Answers: 3600 times the streams by the mean end-to-end time (Little's law), for the next is asked as soon as one has answered.",
    )
    kept: float | None = None
    slowed: bool = Field(
        default=False, description="Every answer of the last third was slower than every one of the first."
    )
    accuracy: float | None = None
    accuracy_ci95: tuple[float, float] | None = None
    right: int | None = None
    asked: int | None = None
    kinds: list[KindShare] = []
    code_score: float | None = Field(default=None, description="Of refactorings, from 0 to 10.")
    code_stddev: float | None = None
    code_same: float | None = Field(
        default=None, description="Of the answers to one task, the share of the most frequent one."
    )
    cpu_avg: float | None = None
    gpu_utilization_avg: float | None = None
    power_w: float | None = Field(default=None, description="Of the GPUs.")
    joules_per_token: float | None = Field(
        default=None, description="Of an output token: processors' packages and GPUs, what of them is told."
    )
    per_million_output_tokens: Decimal | None = Field(
        default=None, description="By the prices that were given, at this machine's throughput."
    )
    currency: str | None = None
    temperature_peak_celsius: float | None = None
    clock_avg_hz: float | None = None
    swapped_bytes: int | None = None
    throttles: int | None = None


class Recommendation(Contract):
    """`use` is a profile, or "balanced", "quality". `why` says it in a sentence."""

    use: str
    model: str
    quantization: str
    why: str


class MatrixResult(Contract):
    """`warnings` are sentences. `machine` and `settings` are what must be equal for two of them to be compared."""

    schema_version: Literal["matrix-result/v1"] = "matrix-result/v1"
    id: str
    started_at: str
    ended_at: str
    interrupted: bool
    depth: str
    machine: dict[str, str]
    settings: dict[str, str]
    fingerprint: str
    limits: MatrixLimits
    uses: dict[str, str] = Field(default={}, description="What each profile's numbers mean to a person.")
    recommendations: list[Recommendation]
    warnings: list[str]
    rows: list[MatrixRow]
    servers: list[ServerFacts]
