"""BenchmarkRuns -> samples."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prometheus_client.core import Metric

from tokenmark_schemas.run import vantage_in_cluster

from .families import QUANTILES, condition, gauge

INFO = (
    "run", "run_namespace", "vantage", "engine", "model", "provider", "region", "cluster", "instance_type", "gpu_model",
    "gpu_count", "workload", "workload_hash", "fingerprint", "verdict",
)  # fmt: skip
RUN = ("run", "run_namespace", "stage", "provider", "region", "cluster", "model", "engine")
FLAGS = (
    ("Valid", "valid", "1 when the instrument stands behind the numbers."),
    ("Succeeded", "succeeded", "1 when the run succeeded."),
    ("ResultsStored", "results_stored", "1 when the result is kept; 0 while that is tried, or where it was given up."),
)
LATENCIES = ("ttft", "ttftScheduled", "tpot", "itl", "e2e")


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


def run_metrics(runs: list[dict[str, Any]]) -> Iterator[Metric]:
    info = gauge("tokenmark_run_info", "What a run was; always 1.", INFO)
    flags = {name: gauge(f"tokenmark_run_{metric}", about, RUN) for name, metric, about in FLAGS}
    done = gauge("tokenmark_run_completion_timestamp_seconds", "When a run ended.", RUN)
    gpus = gauge("tokenmark_run_gpus", "GPUs of the node behind the target; absent where there is none.", RUN)
    queued = gauge("tokenmark_run_queued_seconds", "From its making to its first attempt.", RUN)
    met = gauge("tokenmark_run_objective_met", "1 met, 0 missed.", (*RUN, "metric", "statistic"))
    for cr in runs:
        labels = run_labels(cr)
        info.add_metric([labels[name] for name in INFO], 1)
        for name, family in flags.items():
            status = condition(cr, name).get("status")
            if status in ("True", "False"):
                family.add_metric(row_of(labels, ""), int(status == "True"))
        if ended := (cr.get("status") or {}).get("completionTime"):
            done.add_metric(row_of(labels, ""), _seconds(ended))
        if labels["gpu_count"].isdigit():
            gpus.add_metric(row_of(labels, ""), int(labels["gpu_count"]))
        made, began = cr["metadata"].get("creationTimestamp"), (cr.get("status") or {}).get("startTime")
        if made and began:
            queued.add_metric(row_of(labels, ""), max(0.0, _seconds(began) - _seconds(made)))
        for outcome in (cr.get("status") or {}).get("objectives") or []:
            if outcome["met"] != "Unknown":
                row = [*row_of(labels, outcome["stage"]), outcome["metric"], outcome["statistic"]]
                met.add_metric(row, int(outcome["met"] == "True"))
    yield from (info, *flags.values(), done, queued, gpus, met)
    yield from _stage_metrics(runs)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()


def row_of(labels: dict[str, str], stage: str) -> list[str]:
    """Label values of one sample; of a run as a whole, `stage` is empty."""
    return [stage if name == "stage" else labels[name] for name in RUN]


def _stage_metrics(runs: list[dict[str, Any]]) -> Iterator[Metric]:
    times = {
        key: gauge(f"tokenmark_run_{_snake(key)}_seconds", f"{_snake(key)} of a stage.", (*RUN, "quantile"))
        for key in LATENCIES
    }
    tokens_s = gauge("tokenmark_run_output_tokens_per_second", "Output tokens in the steady window.", RUN)
    requests_s = gauge("tokenmark_run_requests_per_second", "Requests in the steady window.", RUN)
    goodput = gauge("tokenmark_run_goodput_ratio", "Requests that met every objective / requests due.", RUN)
    network = gauge("tokenmark_run_network_share_ratio", "Of the mean, what the network explains.", (*RUN, "metric"))
    lag = gauge(
        "tokenmark_run_client_lag_seconds", "The client's own delay, tail: of reading, of sending.", (*RUN, "kind")
    )
    cores = gauge("tokenmark_run_client_cores", "Processors that the client used.", RUN)
    errors = gauge("tokenmark_run_errors_ratio", "Failed / sent.", RUN)
    requests = gauge("tokenmark_run_requests", "Requests sent, by result.", (*RUN, "result"))
    tokens = gauge("tokenmark_run_output_tokens", "Output tokens received.", RUN)
    for cr in runs:
        labels = run_labels(cr)
        for stage in (cr.get("status") or {}).get("summary") or []:
            row = row_of(labels, stage["stage"])
            for key, family in times.items():
                for quantile, value in (stage.get(f"{key}Microseconds") or {}).items():
                    family.add_metric([*row, QUANTILES[quantile]], value / 1e6)
            for kind in ("read", "send"):
                if (late := stage.get(f"client{kind.capitalize()}LagMicroseconds")) is not None:
                    lag.add_metric([*row, kind], late / 1e6)
            for family, field_name in ((tokens_s, "outputTokensPerSecondMilli"), (requests_s, "requestsPerSecondMilli"), (goodput, "goodputPerMille"), (cores, "clientCoresMilli")):  # fmt: skip
                if stage.get(field_name) is not None:
                    family.add_metric(row, stage[field_name] / 1000)
            for metric, field_name in (("ttft", "networkTtftPerMille"), ("tpot", "networkTpotPerMille")):
                if stage.get(field_name) is not None:
                    network.add_metric([*row, metric], stage[field_name] / 1000)
            sent, failed = stage.get("requests", 0), stage.get("failed", 0)
            if sent:
                errors.add_metric(row, failed / sent)
            cancelled = stage.get("cancelled", 0)
            requests.add_metric([*row, "succeeded"], sent - failed - cancelled)
            requests.add_metric([*row, "failed"], failed)
            requests.add_metric([*row, "cancelled"], cancelled)
            tokens.add_metric(row, stage.get("outputTokens", 0))
    yield from (*times.values(), tokens_s, requests_s, goodput, network, lag, cores, errors, requests, tokens)


def _snake(key: str) -> str:
    return {"ttftScheduled": "ttft_scheduled"}.get(key, key)
