"""A result as OpenMetrics text, with the series names of the operator's /metrics: what `promtool tsdb create-blocks-from
openmetrics` puts into a Prometheus afterwards, at the time when the run ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult, StageResult

QUANTILES = {"p50": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99"}
LABELS = ("run", "run_namespace", "stage", "provider", "region", "cluster", "model", "engine")
LATENCIES = ("ttft", "ttft_scheduled", "tpot", "itl", "e2e")
SERIES: dict[str, tuple[str, tuple[str, ...]]] = {
    **{f"{name}_seconds": (f"{name} of a stage.", ("quantile",)) for name in LATENCIES},
    "output_tokens_per_second": ("Output tokens in the steady window.", ()),
    "requests_per_second": ("Requests in the steady window.", ()),
    "goodput_ratio": ("Requests that met every objective / requests due.", ()),
    "recall_ratio": ("Of the nearest vectors, what the worst kind of search found.", ()),
    "errors_ratio": ("Failed / sent.", ()),
    "output_tokens": ("Output tokens received.", ()),
    "requests": ("Requests sent, by result.", ("result",)),
    "valid": ("1 when the instrument stands behind the numbers.", ()),
}


def openmetrics(results: Sequence[RunResult]) -> str:
    """Raises InvalidInput for a result whose end nobody tells: a sample needs its time."""
    families = {name: _family(name, about, own) for name, (about, own) in SERIES.items()}
    for result in results:
        at = _ended(result)
        for stage, name, own, value in _samples(result):
            families[name].add_metric([*_row(result, stage), *own], value, timestamp=at)
    registry = CollectorRegistry()
    registry.register(_Held(list(families.values())))
    return str(generate_latest(registry).decode())  # type: ignore[no-untyped-call]


def _family(name: str, about: str, own: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tokenmark_run_{name}", about, labels=[*LABELS, *own])


class _Held:
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _samples(result: RunResult) -> Iterator[tuple[str, str, list[str], float]]:
    """(stage, series, its own labels' values, value); what is null is no sample."""
    if result.verdict.state != "unknown":
        yield "", "valid", [], float(result.verdict.state != "invalid")
    for stage in result.stages:
        for name in LATENCIES:
            for statistic, quantile in QUANTILES.items():
                if (value := getattr(stage.metrics[name], statistic)) is not None:
                    yield stage.name, f"{name}_seconds", [quantile], value
        yield from ((stage.name, name, [], value) for name, value in _rates(stage).items() if value is not None)
        for kind in ("succeeded", "failed", "cancelled"):
            yield stage.name, "requests", [kind], float(getattr(stage.requests, kind))


def _rates(stage: StageResult) -> dict[str, float | None]:
    done = stage.requests
    return {
        "output_tokens_per_second": stage.throughput.output_tokens_per_s,
        "requests_per_second": stage.throughput.requests_per_s,
        "goodput_ratio": stage.goodput,
        "errors_ratio": done.failed / done.sent if done.sent else None,
        "output_tokens": stage.tokens.output if stage.operations is None else None,
        "recall_ratio": stage.worst_recall,
    }


def _row(result: RunResult, stage: str) -> list[str]:
    place, engine = result.provenance.environment, result.provenance.engine
    return [
        result.run.name, result.run.namespace, stage, place.get("provider", ""), place.get("region", ""),
        place.get("cluster_label", ""), result.provenance.model, engine.name,
    ]  # fmt: skip


def _ended(result: RunResult) -> float:
    at = result.run.ended_at or result.run.started_at
    if at is None:
        raise InvalidInput(f"{result.run.name} does not tell when it ran, and a sample needs its time")
    return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
