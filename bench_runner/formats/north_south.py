"""RunResult -> the flat record of `benchmark-output/v1` (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.north_south import BenchmarkOutput, PhaseRecord, PhaseRecords, RunMetadata, StageRecord
from tokenmark_schemas.result import Phase, RunResult, StageResult
from tokenmark_schemas.run import RunConfig


def north_south(result: RunResult, config: RunConfig | None = None) -> BenchmarkOutput:
    """One record. `config` names the model as it was asked for; without it the engine's word stands.

    Raises InvalidInput for a result without any stage: there is nothing to record.
    """
    warmup = result.phases.warmup
    if result.imported is not None or warmup is None:
        raise InvalidInput(f"run {result.run.name} was imported; the record is of runs that this tool measured")
    if not result.stages:
        raise InvalidInput(f"run {result.run.name} measured no stage; there is nothing to record")
    stages = [_stage(stage) for stage in result.stages]
    return BenchmarkOutput(
        **stages[-1].model_dump(),
        run=result.run.name,
        verdict=result.verdict.state,
        stages=stages,
        phases=PhaseRecords(warmup=_phase(warmup), measured=_phase(result.phases.measured)),
        workload_manifest_hash=result.provenance.workload.hash,
        netprobe_reference=result.network.probe if result.network else None,
        run_metadata=_metadata(result, config),
    )


def _stage(stage: StageResult) -> StageRecord:
    requests, tokens = stage.requests, stage.tokens
    times = {
        f"{word}_{q}_ms": _ms(getattr(stage.metrics[metric], q))
        for word, metric in (("ttft", "ttft"), ("latency", "e2e"), ("tpot", "tpot"))
        for q in ("p50", "p95")
    }
    return StageRecord(
        stage=stage.name, requests=requests.due, success=requests.succeeded, errors=requests.failed, **times,
        avg_tokens_per_sec=stage.throughput.output_tokens_per_s, total_tokens=tokens.output,
        avg_output_tokens=_mean(tokens.output, requests.succeeded), total_prompt_tokens=tokens.prompt,
        avg_prompt_tokens=_mean(tokens.prompt, requests.succeeded), prompt_tokens=tokens.prompt,
        max_output_tokens=tokens.max_output, duration_seconds=stage.window.duration_s,
    )  # fmt: skip


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 6)


def _mean(total: int | None, count: int) -> float | None:
    return None if total is None or not count else total / count


def _phase(phase: Phase) -> PhaseRecord:
    return PhaseRecord(requests=phase.requests, errors=phase.failed, duration_seconds=phase.duration_s)


def _metadata(result: RunResult, config: RunConfig | None) -> RunMetadata:
    engine, place = result.provenance.engine, result.provenance.environment
    named = {
        name: place.get(name)
        for name in ("provider", "region", "cluster_label", "node_instance_type", "gpu_model", "ray_version", "docset")
    }
    asked = config.target.model if config else None
    return RunMetadata(
        **named,
        gpu_count=_whole(place, "gpu_count"),
        vllm_version=place.get("vllm_version") or (engine.version if engine.name == "vllm" else None),
        model_id=asked or engine.served_model or engine.reported_model or "unknown",
        dtype=place.get("dtype") or engine.dtype,
        quantization=place.get("quantization") or engine.quantization,
        max_model_len=engine.max_model_len or _whole(place, "max_model_len"),
        backend_image_tag=place.get("backend_image_tag") or _tag(place.get("target_image")),
        frontend_image_tag=place.get("frontend_image_tag"),
        vllm_image_tag=place.get("vllm_image_tag")
        or (_tag(place.get("target_image")) if engine.name == "vllm" else None),
        timestamp=result.run.started_at,
        k=_whole(place, "k"),
    )


def _whole(place: Mapping[str, str], name: str) -> int | None:
    said = place.get(name, "")
    return int(said) if said.isdigit() else None


def _tag(image: str | None) -> str | None:
    """registry:5000/name:tag -> tag; of an image by digest, the digest; of one without either, nothing."""
    rest = (image or "").rpartition("/")[2]
    return (rest.partition("@")[2] or rest.partition(":")[2]) or None
