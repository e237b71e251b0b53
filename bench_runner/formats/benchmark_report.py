"""llm-d's Benchmark Report 0.2, a document a stage: what llm-d-benchmark's own tools and Prism read.

Written from the format's public model (PyPI llmd-benchmark-report 0.2.1), and only with keys that 0.2.0 has too. A block
without a mean is left out, as the format asks; what it has no place for (verdict, client error, objectives, cost) stands in
`scenario.load.native.config`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tokenmark_schemas.result import RunResult, StageResult, Stat

VERSION = "0.2.1"
STATISTICS = {
    "stddev": "stddev",
    "min": "min",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
    "p999": "p99p9",
    "max": "max",
}
LATENCIES = {
    "time_to_first_token": ("ttft", "s"), "request_latency": ("e2e", "s"), "time_per_output_token": ("tpot", "s/token"),
    "inter_token_latency": ("itl", "s/token"),
}  # fmt: skip
RATES = {
    "output_token_rate": ("output_tokens_per_s", "tokens/s"), "total_token_rate": ("total_tokens_per_s", "tokens/s"),
    "request_rate": ("requests_per_s", "queries/s"),
}  # fmt: skip


def benchmark_reports(result: RunResult) -> dict[str, str]:
    """YAML by file name; the comma in it is what the format's readers look for."""
    return {
        f"benchmark_report_v0.2,_{result.run.name}_{stage.name}.yaml": yaml.safe_dump(
            _report(result, stage, number), sort_keys=False, allow_unicode=True
        )
        for number, stage in enumerate(result.stages)
    }


def _report(result: RunResult, stage: StageResult, number: int) -> dict[str, Any]:
    found: dict[str, Any] = _known(
        {
            "version": VERSION,
            "run": _run(result, stage),
            "scenario": _scenario(result, stage, number),
            "results": {"request_performance": {"aggregate": _aggregate(stage)}},
        }
    )
    return found


def _run(result: RunResult, stage: StageResult) -> dict[str, Any]:
    """Ids made of what they name, so that exporting twice gives the same report."""
    experiment = f"tokenmark/{result.run.namespace}/{result.run.name}/{result.run.uid}/{result.run.started_at}"
    return {
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{experiment}/{stage.name}")),
        "eid": str(uuid.uuid5(uuid.NAMESPACE_URL, experiment)),
        "cid": result.provenance.environment.get("cluster_label"),
        "time": {
            "start": stage.window.started_at,
            "duration": f"PT{stage.window.duration_s:.3f}S" if stage.window.duration_s is not None else None,
        },
        "description": f"{result.run.name} {stage.name}",
    }


def _scenario(result: RunResult, stage: StageResult, number: int) -> dict[str, Any]:
    engine = result.provenance.engine
    model = engine.reported_model or engine.served_model
    component = {
        "metadata": {"label": "target", "cfg_id": result.provenance.fingerprint},
        "standardized": {
            "kind": "generic", "tool": engine.name, "tool_version": engine.version or "unknown",
            "model": {"name": model} if model else None,
        },
        "native": {},
    }  # fmt: skip
    found: dict[str, Any] = {"stack": [component]}
    if (load := _load(result, stage, number)) is not None:
        found["load"] = load
    return found


def _load(result: RunResult, stage: StageResult, number: int) -> dict[str, Any] | None:
    """None where nobody counted the prompts' tokens: the format cannot be without their length."""
    done, prompt, load = stage.requests.succeeded, stage.tokens.prompt, stage.load
    if prompt is None or not done:
        return None
    tool = result.provenance.tool
    return {
        "metadata": {"cfg_id": result.provenance.workload.hash, "description": result.provenance.workload.name},
        "standardized": {
            "tool": tool.name, "tool_version": tool.version, "source": "unknown", "stage": number,
            "input_seq_len": {"distribution": "other", "value": prompt / done},
            "concurrency": load.concurrency if load else None,
            "rate_qps": float(load.request_rate) if load and load.request_rate else None,
        },
        "native": {"config": _own(result, stage)},
    }  # fmt: skip


def _own(result: RunResult, stage: StageResult) -> dict[str, Any]:
    return {
        "verdict": result.verdict.snake(),
        "client": stage.client.snake() if stage.client else None,
        "goodput": stage.goodput,
        "errors": stage.requests.errors,
        "objectives": [each.snake() for each in result.objectives if each.stage == stage.name],
    }


def _aggregate(stage: StageResult) -> dict[str, Any]:
    done = stage.requests
    return {
        "requests": {
            "total": done.sent, "failures": done.failed, "incomplete": done.cancelled,
            "input_length": _mean(stage.tokens.prompt, done.succeeded, "count"),
            "output_length": _mean(stage.tokens.output, done.succeeded, "count"),
        },
        "latency": {name: _statistics(stage.metrics[metric], unit) for name, (metric, unit) in LATENCIES.items()},
        "throughput": {
            name: {"units": unit, "mean": getattr(stage.throughput, field)} for name, (field, unit) in RATES.items()
        },
    }  # fmt: skip


def _mean(total: int | None, count: int, unit: str) -> dict[str, Any]:
    return {"units": unit, "mean": total / count if total is not None and count else None}


def _statistics(stat: Stat, unit: str) -> dict[str, Any]:
    return {"units": unit, "mean": stat.mean} | {theirs: getattr(stat, ours) for ours, theirs in STATISTICS.items()}


def _known(value: Any) -> Any:
    """Without nulls, and without statistics that lack their mean."""
    if isinstance(value, Mapping):
        if "units" in value and value.get("mean") is None:
            return None
        found = {key: inner for key, each in value.items() if (inner := _known(each)) is not None}
        return found if found or not value else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_known(each) for each in value]
    return value
