"""One run under the definitions of other tools: the same requests, the same stamps, their formulas (pure).

Every row names the tool, the word it prints, its formula, and the release whose source that was read from. `s` is the
send, t1…tk the chunks with text, `E` the end of the stream, N the output tokens, k the chunks. What differs beside the
formula (where a tool takes its stamps, how it counts tokens) cannot be translated: docs/metrics.md names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..load.clock import NS
from ..stats.summary import percentile

Row = dict[str, Any]  # one line of requests.jsonl.gz


@dataclass(frozen=True)
class Translation:
    """`values(row)` gives what that tool would note of one answer, in seconds."""

    tool: str
    word: str
    ours: str
    formula: str
    source: str
    values: Callable[[Row], Iterable[float]]
    needs_chunks: bool = False


def _s(row: Row) -> float:
    return float(row["sent_ns"])


def _first(row: Row) -> float:
    return float(row["content_ns"][0])


def _last(row: Row) -> float:
    return float(row["content_ns"][-1])


def _per(span: float, count: int) -> tuple[float, ...]:
    return (span / NS / count,) if count > 0 else ()


def _gaps(row: Row) -> list[float]:
    return [(b - a) / NS for a, b in pairwise(row["content_ns"])]


def _ttft(row: Row) -> Iterable[float]:
    return ((_first(row) - _s(row)) / NS,)


def _to_last(row: Row) -> Iterable[float]:
    return ((_last(row) - _s(row)) / NS,)


def _to_end(row: Row) -> Iterable[float]:
    return ((row["end_ns"] - _s(row)) / NS,)


def _after_first(row: Row) -> Iterable[float]:
    return _per(_last(row) - _first(row), row["output_tokens"] - 1)


VLLM, GUIDELLM, AIPERF = "vllm-project/vllm 0.33.0", "vllm-project/guidellm 0.8.1", "ai-dynamo/aiperf 0.13.0"
INFERENCE_PERF, LLMPERF, MLPERF = (
    "kubernetes-sigs/inference-perf 0.7.0",
    "ray-project/llmperf",
    "mlcommons/inference loadgen",
)

TRANSLATIONS: tuple[Translation, ...] = (
    Translation("vLLM bench", "TTFT", "ttft", "t1 − s", VLLM, _ttft),
    Translation("vLLM bench", "TPOT", "tpot", "(tk − t1) / (N − 1)", VLLM, _after_first),
    Translation("vLLM bench", "ITL", "chunk_gap", "t(i+1) − t(i)", VLLM, _gaps, needs_chunks=True),
    Translation("vLLM bench", "E2EL", "e2e", "tk − s", VLLM, _to_last),
    Translation("GuideLLM", "TTFT", "ttft", "t1 − s", GUIDELLM, _ttft),
    Translation("GuideLLM", "TPOT", "tpot", "(tk − s) / N", GUIDELLM, lambda r: _per(_last(r) - _s(r), r["output_tokens"])),
    Translation("GuideLLM", "ITL", "tpot", "(tk − t1) / (N − 1)", GUIDELLM, _after_first),
    Translation("GuideLLM", "request latency", "e2e", "E − s", GUIDELLM, _to_end),
    Translation("AIPerf", "TTFT", "ttft", "t1 − s", AIPERF, _ttft),
    Translation("AIPerf", "ITL", "tpot", "(tk − t1) / (N − 1)", AIPERF, _after_first),
    Translation("AIPerf", "inter-chunk latency", "chunk_gap", "t(i+1) − t(i)", AIPERF, _gaps, needs_chunks=True),
    Translation("AIPerf", "request latency", "e2e", "tk − s", AIPERF, _to_last),
    Translation("inference-perf", "TPOT", "tpot", "(tk − t1) / (N − 1)", INFERENCE_PERF, _after_first),
    Translation("inference-perf", "NTPOT", "e2e", "(E − s) / N", INFERENCE_PERF,
                lambda r: _per(r["end_ns"] - _s(r), r["output_tokens"])),
    Translation("inference-perf", "request latency", "e2e", "E − s", INFERENCE_PERF, _to_end),
    Translation("llmperf", "inter-token latency", "tpot", "(tk − s) / k", LLMPERF,
                lambda r: _per(_last(r) - _s(r), r["chunks"])),
    Translation("MLPerf LoadGen", "TTFT (Server)", "ttft_scheduled", "t1 − due", MLPERF,
                lambda r: ((_first(r) - r["due_ns"]) / NS,)),
    Translation("MLPerf LoadGen", "TPOT", "tpot", "(tk − t1) / (N − 1)", MLPERF, _after_first),
)  # fmt: skip


@dataclass(frozen=True)
class Translated:
    """What a tool would have printed for one stage; None where the log does not hold what it needs."""

    row: Translation
    p50_s: float | None
    p99_s: float | None
    count: int


def translate(rows: list[Row], stage: str) -> list[Translated]:
    """The successful answers of one stage under every definition. Lines of requests.jsonl.gz come in as they are."""
    good = [r for r in rows if r["stage"] == stage and not r["error"] and r["content_ns"] and r["output_tokens"]]
    all_chunks = all(len(r["content_ns"]) == r["chunks"] for r in good)
    out = []
    for row in TRANSLATIONS:
        values = [] if row.needs_chunks and not all_chunks else sorted(v for r in good for v in row.values(r))
        p50, p99 = (percentile(values, 0.5), percentile(values, 0.99)) if values else (None, None)
        out.append(Translated(row, p50, p99, len(values)))
    return out
