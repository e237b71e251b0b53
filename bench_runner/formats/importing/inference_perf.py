"""inference-perf's `stage_N_lifecycle_metrics.json` and `summary_lifecycle_metrics.json`, read from
kubernetes-sigs/inference-perf 0.7.0 (inference_perf/reportgen/base.py) and from its output. Seconds throughout.

Of a run with several stages give the stages' files; the summary lays them together, and is one load only where there was one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Stage

from .found import Found, FoundStage, Summary, closed, need, number, opened, whole

TOOL = "inference-perf"
WORDS = {"time_to_first_token": "ttft", "time_per_output_token": "tpot", "request_latency": "e2e"}
STATISTICS = {"mean": "mean", "min": "min", "max": "max", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
DEFINITIONS = {
    "ttft": "first visible text: what a model thinks before it does not count",
    "e2e": "request_latency: to the end of the stream; here it is to the last text",
    "tpot": "of answers with two tokens or more, N by the server's usage or its own tokenizer, as it was configured",
    "arrival": "the file does not tell how arrivals were spaced",
    "requests_per_s": "from the first request's start to the last one's end",
    "output_tokens_per_s": "from the first request's start to the last one's end",
}
REFUSED = {
    "inter_token_latency": "gaps of chunks cut into tokens, with zeros within a chunk",
    "normalized_time_per_output_token": "the whole latency over the tokens: it holds the time to the first one",
}


def is_ours(document: Any) -> bool:
    return isinstance(document, Mapping) and {"load_summary", "successes", "failures"} <= set(document)


def read(document: Mapping[str, Any]) -> Found:
    """Raises InvalidInput where it lacks its counts."""
    good, bad, summary = need(document, "successes"), need(document, "failures"), need(document, "load_summary")
    done, failed = whole(good.get("count")), whole(bad.get("count"))
    if done is None or failed is None:
        raise InvalidInput("successes.count and failures.count are no numbers")
    load = _load(summary, done + failed)
    rates = good.get("throughput") or {}
    stage = FoundStage(
        name=load.name if load else "all", load=load, sent=done + failed, succeeded=done, failed=failed, errors=_errors(bad, failed),
        duration_s=number(document.get("benchmark_time_seconds")), prompt_tokens=_total(good, "prompt_tokens", "prompt_len", done),
        output_tokens=_total(good, "output_tokens", "output_len", done), requests_per_s=number(rates.get("requests_per_sec")),
        output_tokens_per_s=number(rates.get("output_tokens_per_sec")), total_tokens_per_s=number(rates.get("total_tokens_per_sec")),
        summaries={ours: found for theirs, ours in WORDS.items() if (found := _summary((good.get("latency") or {}).get(theirs), done))},
    )  # fmt: skip
    return Found(tool=TOOL, repetitions=[[stage]], definitions=DEFINITIONS, refused=REFUSED, load_told=load is not None)


def _load(summary: Mapping[str, Any], count: int) -> Stage | None:
    """None of the summary over several stages: it names none."""
    rate, streams = number(summary.get("requested_rate")), whole(summary.get("concurrency"))
    if streams:
        return closed(streams, count)
    return opened(rate, count, None) if rate else None


def _errors(bad: Mapping[str, Any], failed: int) -> dict[str, int]:
    named = {str(label)[:63]: whole(each.get("count")) or 0 for label, each in (bad.get("by_label") or {}).items()}
    return named or ({"other": failed} if failed else {})


def _total(good: Mapping[str, Any], name: str, older: str, count: int) -> int | None:
    mean = number((good.get(name) or good.get(older) or {}).get("mean"))
    return None if mean is None else round(mean * count)


def _summary(found: Mapping[str, Any] | None, count: int) -> Summary | None:
    if not found or not count:
        return None
    return Summary(count, **{ours: number(found.get(theirs)) for ours, theirs in STATISTICS.items()})
