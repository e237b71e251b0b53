"""METRICS: every number of a request, declared once. Tables, results, Prometheus, docs and comparisons read these rows.

Formulas follow the definitions in docs/metrics.md; times are integer nanoseconds until a row turns them into seconds.
A value is None where the request cannot have it: absent is never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ..load.clock import NS
from .sample import Sample


@dataclass(frozen=True)
class Metric:
    """One row. `values` gives all values of one sample: one for most metrics, one a token or chunk for the gaps."""

    id: str
    unit: str
    better: Literal["lower", "higher"]
    formula: str
    help: str
    values: Callable[[Sample], Iterable[float]]
    shown: bool = False


def _between(a: int | None, b: int | None) -> tuple[float, ...]:
    return () if a is None or b is None else ((b - a) / NS,)


def _first(s: Sample) -> int | None:
    """A call to a database has an end, and no first token before it."""
    return s.content_ns[0] if s.content_ns and s.operation is None else None


def _last(s: Sample) -> int | None:
    return s.content_ns[-1] if s.content_ns else None


def _tpot(s: Sample) -> tuple[float, ...]:
    n = s.output_tokens
    if n is None or n < 2 or len(s.content_ns) < 2:
        return ()
    return ((s.content_ns[-1] - s.content_ns[0]) / NS / (n - 1),)


def _itl(s: Sample) -> list[float]:
    """Needs the tokens of each chunk: told by the engine, or one each where the counts agree."""
    gaps = s.gaps_s
    if not gaps or s.output_tokens is None:
        return []
    if s.chunk_tokens is not None:
        return [gap / n for gap, n in zip(gaps, s.chunk_tokens[1:], strict=True) for _ in range(n)]
    chunks = len(s.content_ns)
    return gaps if 0.9 * s.output_tokens <= chunks <= s.output_tokens else []


def _output_rate(s: Sample) -> tuple[float, ...]:
    e2e = _between(s.sent_ns, _last(s))
    return (s.output_tokens / e2e[0],) if s.output_tokens and e2e and e2e[0] > 0 else ()


def _decode_rate(s: Sample) -> tuple[float, ...]:
    tpot = _tpot(s)
    return (1 / tpot[0],) if tpot and tpot[0] > 0 else ()


def _prefill_rate(s: Sample) -> tuple[float, ...]:
    ttft = _between(s.sent_ns, _first(s))
    return (s.prompt_tokens / ttft[0],) if s.prompt_tokens and ttft and ttft[0] > 0 else ()


METRICS: tuple[Metric, ...] = (
    Metric("ttft", "s", "lower", "t1 − sent", "Time to first token, reasoning and tool calls included.",
           lambda s: _between(s.sent_ns, _first(s)), shown=True),
    Metric("ttft_scheduled", "s", "lower", "t1 − due", "TTFT from when the schedule wanted the request: no coordinated omission.",
           lambda s: _between(s.due_ns, _first(s))),
    Metric("ttfo", "s", "lower", "first visible text − sent", "Time to first visible output; above TTFT for reasoning models.",
           lambda s: _between(s.sent_ns, s.visible_ns)),
    Metric("tpot", "s", "lower", "(tk − t1) / (N − 1), N ≥ 2", "Time per output token after the first.", _tpot, shown=True),
    Metric("itl", "s", "lower", "chunk gap / tokens in that chunk, weighted by tokens", "Inter-token latency.", _itl, shown=True),
    Metric("chunk_gap", "s", "lower", "t(i+1) − t(i)", "Gap between chunks with text, whatever they hold.", lambda s: s.gaps_s),
    Metric("e2e", "s", "lower", "tk − sent", "Last text chunk, from the send.", lambda s: _between(s.sent_ns, _last(s)), shown=True),
    Metric("e2e_scheduled", "s", "lower", "tk − due", "Last text chunk, from when the schedule wanted the request.",
           lambda s: _between(s.due_ns, _last(s))),
    Metric("stream_close", "s", "lower", "end − tk", "From the last text to the end of the stream.",
           lambda s: _between(_last(s) if s.operation is None else None, s.end_ns)),
    Metric("send_lag", "s", "lower", "taken up − due", "How late the client itself was: until a worker had a hand free.",
           lambda s: _between(s.due_ns, s.ready_ns)),
    Metric("connect", "s", "lower", "usable − begun", "TCP, proxy and TLS of a connection, where a request was the first on it.",
           lambda s: () if s.connect_ns is None else (s.connect_ns / NS,)),
    Metric("output_tokens_per_s", "tokens/s", "higher", "N / e2e", "Output speed of a request, first token included.", _output_rate),
    Metric("decode_tokens_per_s", "tokens/s", "higher", "(N − 1) / (tk − t1)", "Output speed after the first token.", _decode_rate),
    Metric("prefill_tokens_per_s", "tokens/s", "higher", "prompt tokens / ttft", "Prompt speed as seen from outside.", _prefill_rate),
)  # fmt: skip

BY_ID = {metric.id: metric for metric in METRICS}
