"""BenchmarkRuns -> samples."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prometheus_client.core import Metric

from tokenmark_schemas.run import vantage_in_cluster

from ..observe.conditions import condition
from .families import gauge
from .stages import COST, StageFamilies

INFO = (
    "run", "run_namespace", "vantage", "engine", "model", "provider", "region", "cluster", "instance_type", "gpu_model",
    "gpu_count", "workload", "workload_hash", "fingerprint", "verdict",
)  # fmt: skip
RUN = ("run", "run_namespace", "stage", "provider", "region", "cluster", "model", "engine")
FLAGS = (
    ("Valid", "valid", "1 when the instrument stands behind the numbers."),
    ("Succeeded", "succeeded", "1 when the run succeeded."),
    (
        "NotRegressed",
        "not_regressed",
        "1 when no gate is worse than in the baseline, 0 when one is; absent where that is not known.",
    ),
    ("ResultsStored", "results_stored", "1 when the result is kept; 0 while that is tried, or where it was given up."),
)


def run_labels(cr: dict[str, Any]) -> dict[str, str]:
    """Every label value of a run; absent is empty."""
    status, spec, meta = cr.get("status") or {}, cr["spec"], cr["metadata"]
    env = status.get("environment") or {}
    said = spec.get("environment") or {}
    return {
        "run": meta["name"],
        "run_namespace": meta["namespace"],
        "vantage": vantage_in_cluster((spec["target"].get("endpoint") or {}).get("url")),
        "engine": spec["target"].get("engine", "openai"),
        "model": spec["target"].get("model", ""),
        "provider": env.get("provider") or said.get("provider") or "",
        "region": env.get("region", ""),
        "cluster": env.get("cluster_label", ""),
        "instance_type": env.get("node_instance_type", ""),
        "gpu_model": env.get("gpu_model", ""),
        "gpu_count": env.get("gpu_count", ""),
        "workload": status.get("workloadName", ""),
        "workload_hash": (status.get("workloadHash") or "")[:16],
        "fingerprint": (status.get("fingerprint") or "")[:16],
        "verdict": _verdict(cr),
    }


def _verdict(cr: dict[str, Any]) -> str:
    valid = condition(cr, "Valid")
    if valid.get("status") not in ("True", "False"):
        return "unknown"
    if valid["status"] == "False":
        return "invalid"
    return "valid" if valid.get("reason") == "Valid" else "degraded"


ONCE = (
    ("completion_timestamp_seconds", "When a run ended."),
    ("queued_seconds", "From its making to its first attempt."),
    ("cost_dollars", "What the run's own hours cost, where prices are in US dollars."),
    ("gpus", "GPUs of the node behind the target; absent where there is none."),
)


def run_metrics(runs: list[dict[str, Any]]) -> Iterator[Metric]:
    info = gauge("tokenmark_run_info", "What a run was; always 1.", INFO)
    flags = {name: gauge(f"tokenmark_run_{metric}", about, RUN) for name, metric, about in FLAGS}
    once = {name: gauge(f"tokenmark_run_{name}", about, RUN) for name, about in ONCE}
    met = gauge("tokenmark_run_objective_met", "1 met, 0 missed.", (*RUN, "metric", "statistic"))
    ratio = gauge("tokenmark_run_regression_ratio", "Current / baseline.", (*RUN, "metric", "gate", "outcome"))
    stages = StageFamilies(RUN)
    for cr in runs:
        labels, status = run_labels(cr), cr.get("status") or {}
        whole = row_of(labels, "")
        info.add_metric([labels[name] for name in INFO], 1)
        for name, family in flags.items():
            if (said := condition(cr, name).get("status")) in ("True", "False"):
                family.add_metric(whole, int(said == "True"))
        for name, value in _once(cr, labels):
            once[name].add_metric(whole, value)
        for outcome in status.get("objectives") or []:
            if outcome["met"] != "Unknown":
                row = [*row_of(labels, outcome["stage"]), outcome["metric"], outcome["statistic"]]
                met.add_metric(row, int(outcome["met"] == "True"))
        for own, value in _against_baseline(status):
            ratio.add_metric([*row_of(labels, own[0]), *own[1:]], value)
        for stage in _stages(status):
            stages.add(row_of(labels, stage["stage"]), stage)
    yield from (info, *flags.values(), *once.values(), met, ratio, *stages.all)


def _against_baseline(status: dict[str, Any]) -> Iterator[tuple[list[str], float]]:
    """(stage, metric, gate, outcome) and current / baseline."""
    for line in status.get("comparison") or []:
        if (changed := line.get("changePerMille")) is not None:
            name = ":".join(filter(None, (line["metric"], line.get("statistic"))))
            yield [line["stage"], name, str(line["gate"]).lower(), line["outcome"]], 1 + changed / 1000


def _stages(status: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Without prices of another currency: the series are named after dollars."""
    other = (status.get("cost") or {}).get("currency") != "USD"
    for stage in status.get("summary") or []:
        yield {key: value for key, value in stage.items() if key != COST} if other and COST in stage else stage


def _once(cr: dict[str, Any], labels: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Figures of a run as a whole, those that are known."""
    status = cr.get("status") or {}
    ended, began, made = status.get("completionTime"), status.get("startTime"), cr["metadata"].get("creationTimestamp")
    if ended:
        yield "completion_timestamp_seconds", _seconds(ended)
    if made and began:
        yield "queued_seconds", max(0.0, _seconds(began) - _seconds(made))
    if (spent := status.get("cost") or {}).get("currency") == "USD":
        yield "cost_dollars", spent["runMicros"] / 1e6
    if labels["gpu_count"].isdigit():
        yield "gpus", int(labels["gpu_count"])


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()


def row_of(labels: dict[str, str], stage: str) -> list[str]:
    """Label values of one sample; of a run as a whole, `stage` is empty."""
    return [stage if name == "stage" else labels[name] for name in RUN]
