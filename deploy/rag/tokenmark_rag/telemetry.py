"""What the backend tells Prometheus of itself. Observed once a question, when it is over."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Telemetry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("rag_requests", "Questions, by how they ended.", ["status"], registry=self.registry)
        self._ttft = Histogram(
            "rag_ttft_seconds", "From the question to the first token.", buckets=BOUNDS_S, registry=self.registry
        )
        self._tpot = Histogram(
            "rag_tpot_seconds", "Per token after the first.", buckets=BOUNDS_S, registry=self.registry
        )
        self._latency = Histogram(
            "rag_latency_seconds",
            "Of each step; inference is whole, to the last token.",
            ["stage"],
            buckets=BOUNDS_S,
            registry=self.registry,
        )
        self._speed = Gauge("rag_tokens_per_second", "Of the newest answer.", registry=self.registry)
        self._retrieved = Gauge("rag_k_retrieved", "Passages of the newest answer.", registry=self.registry)
        for status in ("success", "error"):
            self._requests.labels(status)

    def failed(self) -> None:
        self._requests.labels("error").inc()

    def answered(self, steps: dict[str, float], ttft: float, total: float, tokens: int, retrieved: int) -> None:
        """Seconds. `steps` without inference, which is what is left of `total`."""
        self._requests.labels("success").inc()
        self._ttft.observe(ttft)
        if tokens > 1:
            self._tpot.observe((total - ttft) / (tokens - 1))
        for name, seconds in steps.items():
            self._latency.labels(name).observe(seconds)
        self._latency.labels("inference").observe(max(0.0, total - sum(steps.values())))
        self._latency.labels("total").observe(total)
        self._speed.set(tokens / total if total > 0 else 0.0)
        self._retrieved.set(retrieved)
