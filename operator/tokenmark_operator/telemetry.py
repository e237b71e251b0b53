"""`/metrics`: results projected from the status of the objects that exist, and the operator's own counters.

Nothing is pushed and nothing is remembered: series are made at scrape time and vanish with their object. No label is
called namespace, pod or job, which a scrape would rename.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from .core.cache import Cache
from .core.counters import Counters
from .core.kube import Kube
from .core.queue import WorkQueue

VERSION = "0.1.0"
QUANTILES = {"p50": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99"}
INFO = (
    "run", "run_namespace", "vantage", "engine", "model", "provider", "region", "cluster", "instance_type", "gpu_model",
    "gpu_count", "workload", "workload_hash", "fingerprint", "verdict",
)  # fmt: skip
RUN = ("run", "run_namespace", "stage", "provider", "region", "cluster", "model", "engine")
LATENCIES = ("ttft", "ttftScheduled", "tpot", "itl", "e2e")
PROBE = ("probe", "probe_namespace", "test", "source_node", "target_node", "source_zone", "target_zone", "path")


class Projection(Collector):
    """Reads memory, queue and counters when scraped."""

    def __init__(self, memory: Cache, queue: WorkQueue[Any], kube: Kube, counters: Counters, newest: int) -> None:
        self._memory, self._queue, self._kube, self._counters, self._newest = memory, queue, kube, counters, newest

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        runs = self._newest_of("BenchmarkRun")
        yield from _run_metrics(runs)
        yield from _probe_metrics(self._newest_of("NetProbe"))
        yield from self._own()

    def _newest_of(self, kind: str) -> list[dict[str, Any]]:
        objects = self._memory.of_kind(kind)
        objects.sort(key=lambda o: str(o["metadata"].get("creationTimestamp", "")), reverse=True)
        return objects[: self._newest]

    def _own(self) -> Iterator[Metric]:
        total = CounterMetricFamily("tokenmark_operator_reconcile", "Reconciliations.", labels=["kind", "result"])
        for (kind, result), count in sorted(self._counters.reconciles.items()):
            total.add_metric([kind, result], count)
        seconds = SummaryMetricFamily(
            "tokenmark_operator_reconcile_seconds", "Time a reconciliation takes.", labels=["kind"]
        )
        for kind, (count, spent) in sorted(self._counters.seconds.items()):
            seconds.add_metric([kind], count_value=count, sum_value=spent)
        yield from (total, seconds)
        yield GaugeMetricFamily("tokenmark_operator_queue_depth", "Objects that wait for a worker.", self._queue.depth)
        yield GaugeMetricFamily(
            "tokenmark_operator_queue_oldest_seconds", "How long the oldest has waited.", self._queue.oldest_s
        )
        last = GaugeMetricFamily(
            "tokenmark_operator_last_event_timestamp_seconds", "Last watch event.", labels=["kind"]
        )
        for kind, at in sorted(self._memory.last_event_s.items()):
            last.add_metric([kind], at)
        requests = CounterMetricFamily(
            "tokenmark_operator_api_requests", "Requests to the API server.", labels=["verb", "code"]
        )
        for (verb, code), count in sorted(self._kube.requests.items()):
            requests.add_metric([verb, code], count)
        build = GaugeMetricFamily("tokenmark_operator_build_info", "Always 1.", labels=["version"])
        build.add_metric([VERSION], 1)
        yield from (last, requests, build)


def _gauge(name: str, about: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=list(labels))


def run_labels(cr: dict[str, Any]) -> dict[str, str]:
    """Every label value of a run; absent is empty."""
    status, spec, meta = cr.get("status") or {}, cr["spec"], cr["metadata"]
    env = status.get("environment") or {}
    said = spec.get("environment") or {}
    return {
        "run": meta["name"],
        "run_namespace": meta["namespace"],
        "vantage": "in_cluster",
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


def condition(cr: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = (cr.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def _verdict(cr: dict[str, Any]) -> str:
    valid = condition(cr, "Valid")
    if valid.get("status") not in ("True", "False"):
        return "unknown"
    if valid["status"] == "False":
        return "invalid"
    return "valid" if valid.get("reason") == "Valid" else "degraded"


def _run_metrics(runs: list[dict[str, Any]]) -> Iterator[Metric]:
    info = _gauge("tokenmark_run_info", "What a run was; always 1.", INFO)
    flags = {name: _gauge(f"tokenmark_run_{name.lower()}", about, RUN) for name, about in (
        ("Valid", "1 when the instrument stands behind the numbers."), ("Succeeded", "1 when the run succeeded."))}  # fmt: skip
    done = _gauge("tokenmark_run_completion_timestamp_seconds", "When a run ended.", RUN)
    met = _gauge("tokenmark_run_objective_met", "1 met, 0 missed.", (*RUN, "metric", "statistic"))
    for cr in runs:
        labels = run_labels(cr)
        info.add_metric([labels[name] for name in INFO], 1)
        for name, family in flags.items():
            status = condition(cr, name).get("status")
            if status in ("True", "False"):
                family.add_metric(_row(labels, ""), int(status == "True"))
        if ended := (cr.get("status") or {}).get("completionTime"):
            done.add_metric(_row(labels, ""), datetime.fromisoformat(ended.replace("Z", "+00:00")).timestamp())
        for outcome in (cr.get("status") or {}).get("objectives") or []:
            if outcome["met"] != "Unknown":
                row = [*_row(labels, outcome["stage"]), outcome["metric"], outcome["statistic"]]
                met.add_metric(row, int(outcome["met"] == "True"))
    yield from (info, *flags.values(), done, met)
    yield from _stage_metrics(runs)


def _row(labels: dict[str, str], stage: str) -> list[str]:
    return [stage if name == "stage" else labels[name] for name in RUN]


def _stage_metrics(runs: list[dict[str, Any]]) -> Iterator[Metric]:
    times = {
        key: _gauge(f"tokenmark_run_{_snake(key)}_seconds", f"{_snake(key)} of a stage.", (*RUN, "quantile"))
        for key in LATENCIES
    }
    tokens_s = _gauge("tokenmark_run_output_tokens_per_second", "Output tokens in the steady window.", RUN)
    requests_s = _gauge("tokenmark_run_requests_per_second", "Requests in the steady window.", RUN)
    goodput = _gauge("tokenmark_run_goodput_ratio", "Requests that met every objective / requests due.", RUN)
    errors = _gauge("tokenmark_run_errors_ratio", "Failed / sent.", RUN)
    requests = _gauge("tokenmark_run_requests", "Requests sent, by result.", (*RUN, "result"))
    tokens = _gauge("tokenmark_run_output_tokens", "Output tokens received.", RUN)
    for cr in runs:
        labels = run_labels(cr)
        for stage in (cr.get("status") or {}).get("summary") or []:
            row = _row(labels, stage["stage"])
            for key, family in times.items():
                for quantile, value in (stage.get(f"{key}Microseconds") or {}).items():
                    family.add_metric([*row, QUANTILES[quantile]], value / 1e6)
            for family, field_name in ((tokens_s, "outputTokensPerSecondMilli"), (requests_s, "requestsPerSecondMilli"), (goodput, "goodputPerMille")):  # fmt: skip
                if stage.get(field_name) is not None:
                    family.add_metric(row, stage[field_name] / 1000)
            sent, failed = stage.get("requests", 0), stage.get("failed", 0)
            if sent:
                errors.add_metric(row, failed / sent)
            cancelled = stage.get("cancelled", 0)
            requests.add_metric([*row, "succeeded"], sent - failed - cancelled)
            requests.add_metric([*row, "failed"], failed)
            requests.add_metric([*row, "cancelled"], cancelled)
            tokens.add_metric(row, stage.get("outputTokens", 0))
    yield from (*times.values(), tokens_s, requests_s, goodput, errors, requests, tokens)


def _snake(key: str) -> str:
    return {"ttftScheduled": "ttft_scheduled"}.get(key, key)


def _probe_metrics(probes: list[dict[str, Any]]) -> Iterator[Metric]:
    rtt = _gauge("tokenmark_probe_rtt_seconds", "Round trip of one message.", (*PROBE, "quantile"))
    rate = _gauge("tokenmark_probe_throughput_bits_per_second", "Receiver's rate.", (*PROBE, "direction", "streams"))
    retransmits = _gauge("tokenmark_probe_retransmits", "Segments sent again.", (*PROBE, "direction", "streams"))
    for cr in probes:
        for row in (cr.get("status") or {}).get("summary") or []:
            labels = [
                cr["metadata"]["name"], cr["metadata"].get("namespace", ""), row["test"], row["sourceNode"], row["targetNode"], row.get("sourceZone", ""),
                row.get("targetZone", ""), row.get("path", ""),
            ]  # fmt: skip
            for quantile in ("p50", "p90", "p99"):
                if (value := row.get(f"rttNanoseconds{quantile.capitalize()}")) is not None:
                    rtt.add_metric([*labels, QUANTILES[quantile]], value / 1e9)
            shape = [row.get("direction", ""), str(row.get("streams", ""))]
            if row.get("throughputBitsPerSecond") is not None:
                rate.add_metric([*labels, *shape], row["throughputBitsPerSecond"])
            if row.get("retransmits") is not None:
                retransmits.add_metric([*labels, *shape], row["retransmits"])
    yield from (rtt, rate, retransmits)
