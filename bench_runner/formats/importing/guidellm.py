"""GuideLLM's `benchmarks.json` (0.3 to 0.8), read from the wheels of vllm-project/guidellm: benchmark/schemas/{report,benchmark,
metrics}.py, schemas/base/{statistics,request_stats,info}.py. A benchmark in it is a stage here.

Its TPOT holds the time to the first token and its ITL is what TPOT is here; its latency ends with the stream, which the times
of each request, where they are there, put right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Arrival

from .found import MS, Found, FoundStage, Summary, at, closed, label, need, number, opened, scaled, whole

TOOL = "GuideLLM"
DEFINITIONS = {
    "tpot": "inter_token_latency_ms: (t_last − t1) / (N − 1); where the file holds no requests its summary is weighted by tokens",
    "requests_per_s": "over the measured window, without its warm-up and cool-down",
    "output_tokens_per_s": "over the measured window, without its warm-up and cool-down",
}
TO_THE_END = "request_latency: to the end of the stream; here it is to the last text"
REFUSED = {
    "time_per_output_token_ms": "(t_last − sent) / N: it holds the time to the first token, and TPOT here does not"
}


ARRIVALS = {"constant": Arrival.CONSTANT, "poisson": Arrival.POISSON}


def is_ours(document: Any) -> bool:
    found = document.get("benchmarks") if isinstance(document, Mapping) else None
    return isinstance(found, list) and bool(found) and isinstance(found[0], Mapping) and (
        str(found[0].get("type_", "")).startswith("generative_benchmark") or "run_stats" in found[0]
    )  # fmt: skip


def read(document: Mapping[str, Any]) -> Found:
    """Raises InvalidInput where it lacks what every such file has."""
    benchmarks = [each for each in need(document, "benchmarks") if isinstance(each, Mapping)]
    stages = _apart([_stage(each) for each in benchmarks])
    metadata = document.get("metadata") or {}
    whole_run = all("e2e" in stage.values for stage in stages)
    return Found(
        tool=TOOL, version=metadata.get("guidellm_version"), repetitions=[stages], model=_model(document, benchmarks[0]),
        started_at=at(min((each.get("start_time") or 0 for each in benchmarks), default=None)),
        ended_at=at(max((each.get("end_time") or 0 for each in benchmarks), default=None)),
        definitions=DEFINITIONS | ({} if whole_run else {"e2e": TO_THE_END}), refused=REFUSED,
        about={"strategies": [_strategy(each) for each in benchmarks], "data": _data(document)},
    )  # fmt: skip


def _data(document: Mapping[str, Any]) -> Any:
    """What was asked, as the command line said it."""
    spec = (document.get("config") or {}).get("spec") or {}
    return (document.get("args") or {}).get("data") or spec.get("data")


def _apart(stages: list[FoundStage]) -> list[FoundStage]:
    """The same load twice in one file is two stages: it was asked for so."""
    seen: dict[str, int] = {}
    for stage in stages:
        seen[stage.name] = seen.get(stage.name, 0) + 1
        if seen[stage.name] > 1:
            stage.name = f"{stage.name}-{seen[stage.name]}"
    return stages


def _strategy(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    holder = benchmark.get("config") or benchmark.get("args") or {}
    strategy = holder.get("strategy") or {}
    return {
        key: strategy.get(key)
        for key in ("type_", "streams", "rate", "max_concurrency")
        if strategy.get(key) is not None
    }


def _stage(benchmark: Mapping[str, Any]) -> FoundStage:
    metrics = need(benchmark, "metrics")
    totals = metrics.get("request_totals") or benchmark.get("request_totals") or {}
    done, failed, cut = (whole(totals.get(name)) for name in ("successful", "errored", "incomplete"))
    if done is None:
        raise InvalidInput("a benchmark in it has no request_totals")
    failed, cut = failed or 0, cut or 0
    sent = done + failed + cut
    strategy = _strategy(benchmark)
    load = _load(strategy, sent)
    stage = FoundStage(
        name=load.name if load else label(str(strategy.get("type_", "all"))), load=load, sent=sent, succeeded=done, failed=failed,
        cancelled=cut, errors={"other": failed} if failed else {}, started_at=at(benchmark.get("start_time")),
        duration_s=number(benchmark.get("duration")), prompt_tokens=_total(metrics, "prompt_token_count"),
        output_tokens=_total(metrics, "output_token_count"), requests_per_s=_mean(metrics, "requests_per_second"),
        output_tokens_per_s=_mean(metrics, "output_tokens_per_second", "total"),
        total_tokens_per_s=_mean(metrics, "tokens_per_second", "total"),
    )  # fmt: skip
    requests = (benchmark.get("requests") or {}).get("successful") or []
    if len(requests) == done and done:  # else a sample of them is there, and a sample is not the run
        stage.values = _each(requests)
    if not stage.values:
        stage.summaries = dict(_summaries(metrics))
    return stage


def _load(strategy: Mapping[str, Any], count: int) -> Any:
    streams, rate = whole(strategy.get("streams")), number(strategy.get("rate"))
    if strategy.get("type_") == "synchronous":
        return closed(1, count)
    if streams:
        return closed(streams, count)
    return opened(rate, count, ARRIVALS.get(str(strategy.get("type_")))) if rate else None


def _of(metrics: Mapping[str, Any], name: str, status: str) -> Mapping[str, Any]:
    return (metrics.get(name) or {}).get(status) or {}


def _mean(metrics: Mapping[str, Any], name: str, status: str = "successful") -> float | None:
    found = _of(metrics, name, status)
    return number(found.get("mean")) if found.get("count") or found.get("mean") else None


def _total(metrics: Mapping[str, Any], name: str) -> int | None:
    found = _of(metrics, name, "successful")
    return whole(found.get("total_sum")) if found.get("count") else None


def _summaries(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Summary]]:
    """One that nobody filled is all zeros there, with a count of 0."""
    for theirs, ours, factor in (
        ("time_to_first_token_ms", "ttft", MS), ("inter_token_latency_ms", "tpot", MS), ("request_latency", "e2e", 1.0),
    ):  # fmt: skip
        found = _of(metrics, theirs, "successful")
        count = whole(_of(metrics, "request_latency", "successful").get("count"))
        if not found.get("count") or not count:
            continue
        percentiles = {f"p{q}": scaled((found.get("percentiles") or {}).get(f"p{q}"), factor) for q in (50, 90, 95, 99)}
        plain = {
            name: scaled(found.get(key), factor)
            for name, key in (("mean", "mean"), ("stddev", "std_dev"), ("min", "min"), ("max", "max"))
        }
        yield ours, Summary(count, **plain, **percentiles)


def _each(requests: list[Mapping[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"ttft": [], "tpot": [], "e2e": []}
    for request in requests:
        times = (request.get("info") or {}).get("timings") or {}
        sent = number(times.get("request_start") or request.get("start_time"))
        first = number(times.get("first_token_iteration") or request.get("first_token_time"))
        last = number(times.get("last_token_iteration") or request.get("last_token_time"))
        tokens = whole(request.get("output_tokens"))
        if sent is None or first is None or last is None:
            continue
        found["ttft"].append(first - sent)
        found["e2e"].append(last - sent)
        if tokens is not None and tokens > 1:
            found["tpot"].append((last - first) / (tokens - 1))
    return found if found["ttft"] else {}


def _model(document: Mapping[str, Any], benchmark: Mapping[str, Any]) -> str | None:
    for holder, *path in (
        (benchmark, "config", "backend", "model"), (document, "args", "model"), (benchmark, "worker", "backend_model"),
    ):  # fmt: skip
        value: Any = holder
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            return value
    return None
