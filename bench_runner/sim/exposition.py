"""What the simulator tells Prometheus of itself: `/metrics` by vLLM's names, `/metrics/rag` by those of a RAG backend."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FINISHED = {"ok": "length", "aborted": "abort", "cancelled": "abort", "garbage": "length"}


@dataclass
class Times:
    """A histogram: seconds, cumulative when it is read."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += count
        self.total_s += seconds * count

    def lines(self, name: str, labels: str) -> Iterator[str]:
        so_far, inner = 0, f"{labels}," if labels else ""
        for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], self.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{inner}le="{bound}"}} {so_far}'
        yield f"{name}_sum{{{labels}}} {self.total_s:.9f}"
        yield f"{name}_count{{{labels}}} {so_far}"


@dataclass
class Tally:
    """All answers so far."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    finished: Counter[str] = field(default_factory=Counter)
    queue: Times = field(default_factory=Times)
    ttft: Times = field(default_factory=Times)
    tpot: Times = field(default_factory=Times)
    itl: Times = field(default_factory=Times)
    e2e: Times = field(default_factory=Times)
    last_tokens_per_s: float = 0.0

    def answered(self, how: str, prompt: int, tokens: int, waited_s: float, first_s: float, last_s: float) -> None:
        """`first_s`, `last_s`: when its first and last chunk went out, counted from the request. Gaps count as their mean: a
        look at each would take time that the next answers' chunks wait for."""
        self.finished[how] += 1
        if how != "ok":
            return
        self.prompt_tokens += prompt
        self.output_tokens += tokens
        self.queue.add(waited_s)
        self.ttft.add(first_s)
        self.e2e.add(last_s)
        self.last_tokens_per_s = tokens / last_s if last_s > 0 else 0.0
        if tokens > 1 and last_s > first_s:
            self.tpot.add((last_s - first_s) / (tokens - 1))
            self.itl.add((last_s - first_s) / (tokens - 1), tokens - 1)

    def vllm(self, model: str, running: int, waiting: int, slots: int | None) -> str:
        """As vLLM names them; the cache that it uses is the share of its slots."""
        label = f'model_name="{model}"'
        singles = [
            ("num_requests_running", "gauge", running), ("num_requests_waiting", "gauge", waiting),
            ("kv_cache_usage_perc", "gauge", running / slots if slots else 0.0),
            ("prompt_tokens_total", "counter", self.prompt_tokens), ("generation_tokens_total", "counter", self.output_tokens),
            ("num_preemptions_total", "counter", 0), ("prefix_cache_queries_total", "counter", self.prompt_tokens),
            ("prefix_cache_hits_total", "counter", 0),
        ]  # fmt: skip
        lines = [f"# TYPE vllm:{name} {kind}\nvllm:{name}{{{label}}} {value}" for name, kind, value in singles]
        ended: Counter[str] = Counter()
        for how, count in self.finished.items():
            ended[FINISHED.get(how, "abort")] += count
        lines.append("# TYPE vllm:request_success_total counter")
        lines += [
            f'vllm:request_success_total{{{label},finished_reason="{why}"}} {n}' for why, n in sorted(ended.items())
        ]
        for name, times in (
            ("time_to_first_token_seconds", self.ttft), ("inter_token_latency_seconds", self.itl),
            ("request_time_per_output_token_seconds", self.tpot), ("e2e_request_latency_seconds", self.e2e),
            ("request_queue_time_seconds", self.queue),
        ):  # fmt: skip
            lines += [f"# TYPE vllm:{name} histogram", *times.lines(f"vllm:{name}", label)]
        return "\n".join(lines) + "\n"

    def rag(self, steps_s: dict[str, float], retrieved: int) -> str:
        """As a RAG backend names them; `steps_s` are the delays that it puts before the first token, by name."""
        ok = self.finished["ok"]
        lines = ["# TYPE rag_requests_total counter", f'rag_requests_total{{status="success"}} {ok}']
        lines.append(f'rag_requests_total{{status="error"}} {self.finished.total() - ok}')
        for name, times in (("rag_ttft_seconds", self.ttft), ("rag_tpot_seconds", self.tpot)):
            lines += [f"# TYPE {name} histogram", *times.lines(name, "")]
        lines.append("# TYPE rag_latency_seconds histogram")
        inference = Times(list(self.e2e.counts), self.e2e.total_s - ok * sum(steps_s.values()))
        for stage, seconds in steps_s.items():
            step = Times()
            step.add(seconds, ok)
            lines += step.lines("rag_latency_seconds", f'stage="{stage}"')
        lines += inference.lines("rag_latency_seconds", 'stage="inference"')
        lines += self.e2e.lines("rag_latency_seconds", 'stage="total"')
        lines += ["# TYPE rag_tokens_per_second gauge", f"rag_tokens_per_second {self.last_tokens_per_s:.6f}"]
        return "\n".join([*lines, "# TYPE rag_k_retrieved gauge", f"rag_k_retrieved {retrieved}"]) + "\n"
