"""`benchmark-output/v1`: a run as one flat record for scripts, spelled in milliseconds and whole words.

An export of `run-result/v1`, never read back. What was not measured or is not known is null. A run of several loads has a
record a stage under `stages`; at the top stands the last one, as in `kubectl get`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Contract


class RunMetadata(Contract):
    """Where and on what a run ran; null is not known."""

    provider: str | None = None
    region: str | None = None
    cluster_label: str | None = None
    node_instance_type: str | None = None
    gpu_model: str | None = None
    gpu_count: int | None = None
    ray_version: str | None = None
    vllm_version: str | None = None
    model_id: str
    dtype: str | None = None
    quantization: str | None = None
    max_model_len: int | None = None
    backend_image_tag: str | None = None
    frontend_image_tag: str | None = None
    vllm_image_tag: str | None = None
    timestamp: str = Field(description="When the load began, RFC 3339.")
    k: int | None = Field(default=None, description="Passages retrieved for a question.")
    docset: str | None = None
    cost_config_path: str | None = None
    netprobe_ew_path: str | None = None


class PhaseRecord(Contract):
    requests: int
    errors: int
    duration_seconds: float


class PhaseRecords(Contract):
    warmup: PhaseRecord
    measured: PhaseRecord


class StageRecord(Contract):
    """One load. `latency` is `e2e`: from a request sent to its last token. Percentiles with too few samples are null."""

    stage: str
    requests: int
    success: int
    errors: int
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    tpot_p50_ms: float | None
    tpot_p95_ms: float | None
    avg_tokens_per_sec: float | None = Field(description="Output tokens a second over the steady part of the window.")
    total_tokens: int = Field(description="Output tokens.")
    avg_output_tokens: float | None
    total_prompt_tokens: int | None
    avg_prompt_tokens: float | None
    prompt_tokens: int | None = Field(description="The same as total_prompt_tokens.")
    max_output_tokens: int
    duration_seconds: float


class BenchmarkOutput(StageRecord):
    schema_version: Literal["benchmark-output/v1"] = "benchmark-output/v1"
    run: str
    verdict: Literal["valid", "degraded", "invalid"]
    stages: list[StageRecord]
    phases: PhaseRecords
    workload_manifest_hash: str
    cost_reference: str | None = None
    netprobe_reference: str | None = None
    run_metadata: RunMetadata
