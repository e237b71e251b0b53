"""The stages of BenchmarkRuns -> samples: a row a figure of the status."""

from __future__ import annotations

from typing import Any

from prometheus_client.core import GaugeMetricFamily

from .families import QUANTILES, gauge

LATENCIES = {"ttft": "ttft", "ttftScheduled": "ttft_scheduled", "tpot": "tpot", "itl": "itl", "e2e": "e2e"}
COST = "costMicrosPerMillionOutputTokens"
# metric, what it is, field of the status, divisor, what its own label holds (or "")
SINGLES: tuple[tuple[str, str, str, float, str], ...] = (
    ("output_tokens_per_second", "Output tokens in the steady window.", "outputTokensPerSecondMilli", 1e3, ""),
    ("requests_per_second", "Requests in the steady window.", "requestsPerSecondMilli", 1e3, ""),
    ("goodput_ratio", "Requests that met every objective / requests due.", "goodputPerMille", 1e3, ""),
    ("recall_ratio", "Of the nearest vectors, what the worst kind of search found.", "recallPerMille", 1e3, ""),
    ("client_cores", "Processors that the client used.", "clientCoresMilli", 1e3, ""),
    ("cost_dollars_per_million_output_tokens", "Price of an hour / output tokens of one hour.", COST, 1e6, ""),
    ("network_share_ratio", "Of the mean, what the network explains.", "networkTtftPerMille", 1e3, "metric=ttft"),
    ("network_share_ratio", "", "networkTpotPerMille", 1e3, "metric=tpot"),
    ("utilization_ratio", "Busy share of the target's machine and GPUs, average.", "hostCpuPerMille", 1e3, "resource=cpu"),
    ("utilization_ratio", "", "gpuPerMille", 1e3, "resource=gpu"),
    ("client_lag_seconds", "The client's own delay, tail: of reading, of sending.", "clientReadLagMicroseconds", 1e6, "kind=read"),
    ("client_lag_seconds", "", "clientSendLagMicroseconds", 1e6, "kind=send"),
)  # fmt: skip


class StageFamilies:
    """Filled stage by stage; `labels` are those that every series of a run has."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._times = {
            key: gauge(f"tokenmark_run_{name}_seconds", f"{name} of a stage.", (*labels, "quantile"))
            for key, name in LATENCIES.items()
        }
        self._singles = {
            name: gauge(f"tokenmark_run_{name}", about, (*labels, *([own.split("=")[0]] if own else [])))
            for name, about, _, _, own in SINGLES
            if about
        }
        self._steps = gauge(
            "tokenmark_run_step_seconds", "A pipeline's step before the first token.", (*labels, "step", "quantile")
        )
        self._errors = gauge("tokenmark_run_errors_ratio", "Failed / sent.", labels)
        self._requests = gauge("tokenmark_run_requests", "Requests sent, by result.", (*labels, "result"))
        self._tokens = gauge("tokenmark_run_output_tokens", "Output tokens received.", labels)

    def add(self, row: list[str], stage: dict[str, Any]) -> None:
        """`row` are the label values of this stage, `stage` its summary in the status; what is absent is no sample."""
        for key, family in self._times.items():
            for quantile, value in (stage.get(f"{key}Microseconds") or {}).items():
                family.add_metric([*row, QUANTILES[quantile]], value / 1e6)
        for step in stage.get("steps") or []:
            for quantile, value in (step.get("microseconds") or {}).items():
                self._steps.add_metric([*row, step["step"], QUANTILES[quantile]], value / 1e6)
        for name, _, field, divisor, own in SINGLES:
            if stage.get(field) is not None:
                self._singles[name].add_metric([*row, *([own.split("=")[1]] if own else [])], stage[field] / divisor)
        self._counts(row, stage)

    def _counts(self, row: list[str], stage: dict[str, Any]) -> None:
        sent, failed, cancelled = (stage.get(name, 0) for name in ("requests", "failed", "cancelled"))
        if sent:
            self._errors.add_metric(row, failed / sent)
        for result, count in (("succeeded", sent - failed - cancelled), ("failed", failed), ("cancelled", cancelled)):
            self._requests.add_metric([*row, result], count)
        self._tokens.add_metric(row, stage.get("outputTokens", 0))

    @property
    def all(self) -> list[GaugeMetricFamily]:
        return [*self._times.values(), self._steps, *self._singles.values(), self._errors, self._requests, self._tokens]
