"""What the engine counts of itself: its counters before and after a stage, its queues while it runs.

Best effort: an engine that keeps quiet is no failure. Names differ by engine and by release, so each fact lists the
names it has had; the first one present counts. Read from the engines' own documentation: vLLM 0.6 to 0.33 (`vllm:`),
SGLang 0.4 and later (`sglang:`), TGI 2 and 3 (`tgi_`), llama.cpp's server started with --metrics (`llamacpp:`). Ollama
has no such page. A Service may lead to another replica each time: counters of two processes are never subtracted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .gauges import Gauges, pooled
from .http_get import Pages
from .prometheus_page import read_page

STATES_EVERY_S = 5.0  # an engine makes its page in the process that also sends its tokens
STARTED = "process_start_time_seconds"


@dataclass(frozen=True)
class Fact:
    """One row: what it is called in results, the names it goes by, and whether it is a counter (its growth counts)."""

    id: str
    names: tuple[str, ...]
    counter: bool = False


def _counter(name: str, *names: str) -> Fact:
    return Fact(name, names, counter=True)


FACTS: dict[str, tuple[Fact, ...]] = {
    "vllm": (
        Fact("requests_running", ("vllm:num_requests_running",)),
        Fact("requests_waiting", ("vllm:num_requests_waiting",)),
        Fact("kv_cache_usage_ratio", ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
        _counter("prefix_cache_queries", "vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
        _counter("prefix_cache_hits", "vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
        _counter("preemptions", "vllm:num_preemptions_total"),
        _counter("prompt_tokens", "vllm:prompt_tokens_total"),
        _counter("output_tokens", "vllm:generation_tokens_total"),
    ),
    "sglang": (
        Fact("requests_running", ("sglang:num_running_reqs",)),
        Fact("requests_waiting", ("sglang:num_queue_reqs",)),
        Fact("kv_cache_usage_ratio", ("sglang:token_usage",)),
        Fact("prefix_cache_hit_ratio", ("sglang:cache_hit_rate",)),
        _counter("prompt_tokens", "sglang:prompt_tokens_total"),
        _counter("output_tokens", "sglang:generation_tokens_total"),
    ),
    "tgi": (
        Fact("requests_running", ("tgi_batch_current_size",)),
        Fact("requests_waiting", ("tgi_queue_size",)),
        _counter("requests", "tgi_request_count_total", "tgi_request_count"),  # a counter, once it was parsed
    ),
    "llamacpp": (
        Fact("requests_running", ("llamacpp:requests_processing",)),
        Fact("requests_waiting", ("llamacpp:requests_deferred",)),
        Fact("kv_cache_usage_ratio", ("llamacpp:kv_cache_usage_ratio",)),
        _counter("prompt_tokens", "llamacpp:prompt_tokens_total"),
        _counter("output_tokens", "llamacpp:tokens_predicted_total"),
    ),
}

Counters = dict[str, float]


def parse_metrics(text: str) -> Counters:
    """Prometheus text -> name -> sum over all label sets, of ratios the mean; empty where it is no such page."""
    found: Counters = {}
    series: Counter[str] = Counter()
    for name, _, value in read_page(text):
        if value == value:
            found[name] = found.get(name, 0.0) + value
            series[name] += 1
    return {name: value / series[name] if name in RATIOS else value for name, value in found.items()}


RATIOS = {name for facts in FACTS.values() for fact in facts if fact.id.endswith("_ratio") for name in fact.names}


@dataclass(frozen=True)
class Growth:
    """How far the counters went in one repetition; `dropped` says why they are not known."""

    counters: Counters = field(default_factory=dict)
    dropped: str | None = None


def growth(engine: str, before: Counters | None, after: Counters | None) -> Growth:
    """Two readings -> how far each counter went. Readings of two processes, or of one that began anew, give none."""
    if not before or not after:
        return Growth(dropped="a reading of the engine's page did not come" if before or after else None)
    if before.get(STARTED) != after.get(STARTED):
        return Growth(dropped="the two readings came from processes that started at different times: several replicas "
                              "behind one Service, or a restart")  # fmt: skip
    found, shrank = {}, []
    for fact in FACTS.get(engine, ()):
        name = next((name for name in fact.names if name in after), None)
        if fact.counter and name is not None:
            value = after[name] - before.get(name, 0.0)
            found[fact.id] = value
            if value < 0:
                shrank.append(name)
    if shrank:
        return Growth(dropped=f"{shrank[0]} went down: several replicas behind one Service, or a restart")
    return Growth(found)


def states(engine: str, page: Counters | None) -> Counters:
    """What is no counter, as it is now."""
    found = {}
    for fact in FACTS.get(engine, ()):
        name = next((name for name in fact.names if name in (page or {})), None)
        if not fact.counter and page is not None and name is not None:
            found[fact.id] = page[name]
    return found


def facts_over(growths: list[Growth], gauges: list[Gauges]) -> dict[str, float] | None:
    """Repetitions of a stage as one: counters add up, but only where each repetition knows them; the rest is a mean and
    a peak over all readings."""
    total: dict[str, float] = {}
    if not any(part.dropped for part in growths) and all(part.counters for part in growths):
        for part in growths:
            for name, value in part.counters.items():
                total[name] = total.get(name, 0.0) + value
    for name, gauge in pooled(gauges).items():
        total |= {name: gauge.mean, f"{name}_peak": gauge.peak}
    return total or None


class ServerMetrics:
    """The target's /metrics page, read beside the load."""

    def __init__(self, engine: str, pages: Pages) -> None:
        self._engine, self._pages = engine, pages

    def counters(self) -> Counters | None:
        """Everything on the page; None for an engine without one, or that does not answer."""
        if self._engine not in FACTS:
            return None
        text = self._pages.get("/metrics")
        return parse_metrics(text.decode("utf-8", "replace")) if text else None

    def states(self) -> Counters:
        """What is no counter, as it is now."""
        return states(self._engine, self.counters())
