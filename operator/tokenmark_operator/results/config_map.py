"""Verified result bytes -> status summary, outcome and the ConfigMap that keeps them (pure)."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.kube import Artifact
from tokenmark_schemas.network import NetworkShare
from tokenmark_schemas.result import RunResult, StageResult, Stat
from tokenmark_schemas.run_status import CostSummary, Headline, ObjectiveOutcome, Quantiles, StageSummary, StepSummary
from tokenmark_schemas.store import Receipts

from ..plan import names
from .receipts import RECEIPTS_KEY

CONFIG_MAP_BYTES = 1_000_000
MAX_RESULT_BYTES = 64 * 2**20


def unpacked(payload: bytes) -> RunResult | None:
    """gzip JSON -> result; None where it is none. A newer runner's further members are passed over: after a rollback its
    results are still results, and what is stored is its bytes."""
    text = inflated(payload)
    try:
        return None if text is None else RunResult.model_validate_json(text, extra="ignore")
    except ValidationError:
        return None


def inflated(payload: bytes) -> bytes | None:
    """What was compressed, up to MAX_RESULT_BYTES of it; None where it was not."""
    try:
        return zlib.decompressobj(wbits=31).decompress(payload, MAX_RESULT_BYTES)
    except zlib.error:
        return None


def read_result(payload: bytes, uid: str) -> RunResult | None:
    """The result of that very run; None when it is not."""
    result = unpacked(payload)
    return result if result is not None and result.run.uid == uid else None


def best_block(blocks: dict[str, bytes], uid: str) -> tuple[RunResult, bytes] | None:
    """The final result, else the newest partial one."""
    partials = sorted(
        (n for n in blocks if n.startswith("partial-")), key=lambda n: int(n[8:]) if n[8:].isdigit() else -1
    )
    for name in ["result", *reversed(partials)]:
        if name in blocks and (result := read_result(blocks[name], uid)) is not None:
            return result, blocks[name]
    return None


def summarise(result: RunResult) -> list[StageSummary]:
    shares = result.network.shares if result.network else []
    prices = {each.stage: each.per_million_output_tokens for each in result.cost.stages} if result.cost else {}
    return [_stage(stage, shares, _micros(prices.get(stage.name))) for stage in result.stages]


def cost_summary(result: RunResult) -> CostSummary | None:
    """What its hours cost."""
    cost = result.cost
    if cost is None:
        return None
    total, hour = _micros(cost.run_total), _micros(cost.price.per_hour)
    return CostSummary(currency=cost.currency, run_micros=total, per_hour_micros=hour, example=cost.price.example)


def _micros(value: Decimal | None) -> int | None:
    return None if value is None else int((value * 10**6).to_integral_value())


def _quantiles(stat: Stat) -> Quantiles:
    """Microseconds."""
    found = {q: getattr(stat, q) for q in ("p50", "p90", "p95", "p99")}
    return Quantiles(**{q: None if v is None else round(v * 1e6) for q, v in found.items()})


def _stage(stage: StageResult, shares: Sequence[NetworkShare], per_million_micros: int | None) -> StageSummary:
    def milli(value: float | None) -> int | None:
        return None if value is None else round(value * 1000)

    def whole_micro(seconds: float | None) -> int | None:
        return None if seconds is None else round(seconds * 1e6)

    return StageSummary(
        stage=stage.name,
        requests=stage.requests.sent,
        failed=stage.requests.failed,
        cancelled=stage.requests.cancelled,
        output_tokens=stage.tokens.output,
        ttft_microseconds=_quantiles(stage.metrics["ttft"]),
        ttft_scheduled_microseconds=_quantiles(stage.metrics["ttft_scheduled"]),
        tpot_microseconds=_quantiles(stage.metrics["tpot"]),
        itl_microseconds=_quantiles(stage.metrics["itl"]),
        e2e_microseconds=_quantiles(stage.metrics["e2e"]),
        steps=[StepSummary(step=name, microseconds=_quantiles(stat)) for name, stat in (stage.steps or {}).items()],
        output_tokens_per_second_milli=milli(stage.throughput.output_tokens_per_s),
        requests_per_second_milli=milli(stage.throughput.requests_per_s),
        goodput_per_mille=milli(stage.goodput),
        recall_per_mille=milli(stage.worst_recall),
        host_cpu_per_mille=milli(stage.resources.host.cpu_avg) if stage.resources and stage.resources.host else None,
        gpu_per_mille=milli(stage.resources.gpu.utilization_avg) if stage.resources and stage.resources.gpu else None,
        client_read_lag_microseconds=whole_micro(stage.client.read_lag.tail) if stage.client else None,
        client_send_lag_microseconds=whole_micro(stage.client.send_lag.tail) if stage.client else None,
        client_cores_milli=milli(stage.client.cores) if stage.client else None,
        cost_micros_per_million_output_tokens=per_million_micros,
        **{f"network_{share.metric}_per_mille": milli(share.ratio) for share in shares if share.stage == stage.name},
    )


def headline(result: RunResult) -> Headline:
    """The last stage, as `kubectl get` shows it; a withheld percentile shows as a dash."""
    if not result.stages:
        return Headline()
    last = result.stages[-1]

    def milliseconds(metric: str) -> str:
        value = last.metrics[metric].p99
        return "-" if value is None else f"{value * 1000:.3g}ms" if value < 1 else f"{value:.3g}s"

    rate = last.throughput.output_tokens_per_s
    return Headline(
        ttft_p99=milliseconds("ttft"),
        tpot_p99=milliseconds("tpot"),
        output_tokens_per_second="-" if rate is None else f"{rate:.0f}",
    )


def objective_outcomes(result: RunResult) -> list[ObjectiveOutcome]:
    words = {"true": "True", "false": "False", "unknown": "Unknown"}
    return [
        ObjectiveOutcome(metric=o.metric, statistic=o.statistic, stage=o.stage, met=words[o.met])
        for o in result.objectives
    ]


def objectives_condition(result: RunResult) -> tuple[str, str, str]:
    """(status, reason, message) of ObjectivesMet."""
    missed = [o for o in result.objectives if o.met == "false"]
    unknown = [o for o in result.objectives if o.met == "unknown"]
    if not result.objectives:
        return "Unknown", "NoObjectives", "the run sets no objectives"
    if missed:
        texts = [f"{o.metric} {o.statistic} at {o.stage} is {o.value:.6g} {o.unit}, limit {o.limit:g}" for o in missed]
        return "False", "ObjectiveViolated", "; ".join(texts)
    if unknown:
        return (
            "Unknown",
            "TooFewSamples",
            "; ".join(f"{o.metric} {o.statistic} at {o.stage}: {o.reason}" for o in unknown),
        )
    return "True", "AllMet", f"all {len(result.objectives)} objectives are met"


def valid_condition(result: RunResult) -> tuple[str, str, str]:
    """(status, reason, message) of Valid: degraded is still True, and says why."""
    verdict = result.verdict
    if not verdict.reasons:
        return "True", "Valid", "the client's own error stayed within its limits"
    reason = "".join(word.capitalize() for word in verdict.reasons[0].code.split("_"))
    message = "; ".join(r.message for r in verdict.reasons)
    return ("False" if verdict.state == "invalid" else "True"), reason, f"{verdict.state}: {message}"


def fails_objectives(result: RunResult) -> bool:
    return any(o.met == "false" and o.on_violation == "Fail" for o in result.objectives)


@dataclass
class Stored:
    """A result ConfigMap to be made, and what is said about it."""

    manifest: dict[str, Any]
    artifacts: list[Artifact]
    reason: str
    message: str


def plan_result(
    run: BenchmarkRun, result: RunResult, payload: bytes, requests: bytes | None, dropped: str | None,
    receipts: Receipts | None = None, further: Mapping[str, str] = MappingProxyType({}),
) -> Stored:  # fmt: skip
    """The immutable ConfigMap, made whatever the sinks are; request detail goes in where it is one, and while it fits."""
    meta = run.metadata
    retain = run.spec.results.retention == "Retain"
    name = names.result_name("BenchmarkRun", meta.name, meta.uid, retain=retain)
    binary, reason, message = {"result.json.gz": payload}, "Stored", f"results are in ConfigMap {name}"
    named = any(sink.config_map is not None for sink in run.spec.results.sinks)
    wants_detail = run.spec.results.detail != "Summary" and named
    requests = requests if named else None
    if requests is not None and len(payload) + len(requests) <= CONFIG_MAP_BYTES:
        binary["requests.jsonl.gz"] = requests
    elif wants_detail:
        size = f"{len(requests)} bytes of " if requests is not None else ""
        why = dropped or f"{size}request detail do not fit into a ConfigMap"
        reason, message = "DetailDropped", f"the summary is in ConfigMap {name}; {why}"
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "labels": names.labels("BenchmarkRun", meta, **{names.ROLE_LABEL: "result"}),
            **({} if retain else {"ownerReferences": [names.owner("BenchmarkRun", meta)]}),
        },
        "immutable": True,
        "data": {
            "summary.json": json.dumps(_digest(result), indent=1),
            **({RECEIPTS_KEY: receipts.model_dump_json()} if receipts else {}),
            **further,
        },
        "binaryData": {key: base64.b64encode(value).decode() for key, value in binary.items()},
    }
    artifacts = [
        Artifact(
            name=key.split(".")[0],
            kind="ConfigMap",
            ref=name,
            key=key,
            sha256=hashlib.sha256(value).hexdigest(),
            size_bytes=len(value),
        )
        for key, value in binary.items()
    ]
    return Stored(manifest, artifacts, reason, message)


def _digest(result: RunResult) -> dict[str, Any]:
    """What a person reads with `kubectl get cm -o yaml`."""
    return {
        "run": result.run.name,
        "verdict": result.verdict.state,
        "reasons": [reason.message for reason in result.verdict.reasons],
        "stages": [stage.model_dump(exclude_none=True) for stage in summarise(result)],
    }


def held_in(run: dict[str, Any]) -> str | None:
    """The ConfigMap with a run's result, as its status names it."""
    artifacts = (run.get("status") or {}).get("artifacts") or []
    return next((a["ref"] for a in artifacts if a.get("kind") == "ConfigMap" and a.get("name") == "result"), None)


def stored_result(config_map: dict[str, Any], uid: str) -> tuple[RunResult, bytes] | None:
    """The result of a ConfigMap that an earlier life of the operator stored."""
    encoded = (config_map.get("binaryData") or {}).get("result.json.gz")
    if encoded is None or config_map["metadata"].get("labels", {}).get(names.UID_LABEL) != uid:
        return None
    payload = base64.b64decode(encoded)
    result = read_result(payload, uid)
    return (result, payload) if result else None
