"""`/metrics`: results projected from the status of the objects that exist, and the operator's own counters.

Nothing is pushed and nothing is remembered: series are made at scrape time and vanish with their object. No label is
called namespace, pod or job, which a scrape would rename.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..core.cache import Cache
from ..core.counters import Counters
from ..core.kube import Kube
from ..core.queue import WorkQueue
from ..observe.conditions import condition
from ..shared.admission import is_finished
from .families import gauge
from .live import Progress, live_metrics
from .probes import probe_metrics
from .runs import run_metrics
from .schedules import schedule_metrics
from .sweeps import matrix_metrics, sweep_metrics

VERSION = "0.1.0"


class Projection(Collector):
    """Reads memory, queue and counters when scraped."""

    def __init__(
        self, memory: Cache, queue: WorkQueue[Any], kube: Kube, counters: Counters, progress: Progress, newest: int
    ) -> None:
        """`progress` gives what a runner last said of itself, by its pod's uid; `newest` bounds what is shown of each kind."""
        self._memory, self._queue, self._kube, self._counters, self._newest = memory, queue, kube, counters, newest
        self._progress = progress

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        runs = self._shown("BenchmarkRun")
        yield from run_metrics(runs)
        yield from live_metrics(runs, self._progress)
        yield from probe_metrics(self._shown("NetProbe"))
        yield from schedule_metrics(self._shown("BenchmarkSchedule"))
        yield from sweep_metrics(self._shown("BenchmarkSweep"))
        yield from matrix_metrics(self._shown("BenchmarkMatrix"))
        yield from self._states()
        yield from self._own()

    def _shown(self, kind: str) -> list[dict[str, Any]]:
        """The newest of those that are over, and all others: a long queue hides no result."""
        objects = self._memory.of_kind(kind)
        over = [body for body in objects if is_finished(body)]
        over.sort(key=lambda body: str(body["metadata"].get("creationTimestamp", "")), reverse=True)
        return over[: self._newest] + [body for body in objects if not is_finished(body)]

    def _states(self) -> Iterator[Metric]:
        """All objects, shown or not, by the reason that `kubectl get` shows."""
        for kind, name in (
            ("BenchmarkRun", "tokenmark_runs"),
            ("NetProbe", "tokenmark_probes"),
            ("BenchmarkSweep", "tokenmark_sweeps"),
            ("BenchmarkMatrix", "tokenmark_matrices"),
        ):
            said = (condition(body, "Succeeded").get("reason") or "Pending" for body in self._memory.of_kind(kind))
            family = gauge(name, f"{kind} objects by state.", ("state",))
            for state, count in sorted(Counter(said).items()):
                family.add_metric([state], count)
            yield family

    def _own(self) -> Iterator[Metric]:
        total = CounterMetricFamily("tokenmark_operator_reconcile", "Reconciliations.", labels=["kind", "result"])
        for (kind, result), count in sorted(self._counters.reconciles.items()):
            total.add_metric([kind, result], count)
        yield total
        yield from self._counters.reconcile_s.collect()
        yield from self._counters.queue_wait_s.collect()
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
