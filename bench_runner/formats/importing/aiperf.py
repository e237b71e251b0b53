"""AIPerf's `profile_export_aiperf.json` and `profile_export.jsonl`, read from ai-dynamo/aiperf 0.13.0 (exporters/, metrics/types/)
and from its output.

The summary tells the load and percentiles; the lines hold every request's own values. Its ITL is what TPOT is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Arrival, Stage

from .found import MS, Found, FoundStage, Summary, at, closed, known, number, opened, scaled, whole

TOOL = "AIPerf"
WORDS = {
    "time_to_first_token": "ttft",
    "inter_token_latency": "tpot",
    "request_latency": "e2e",
    "inter_chunk_latency": "chunk_gap",
}
STATISTICS = {
    "mean": "avg",
    "stddev": "std",
    "min": "min",
    "max": "max",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
}
DEFINITIONS = {
    "tpot": "inter_token_latency: (t_last − t1) / (N − 1), N by its own tokenizer unless --use-server-token-count was given",
}
OVER_THE_PHASE = "over the measured phase, its end when streams run dry included"
OVER_THE_REQUESTS = "from the first request's send to the last one's end"
REFUSED = {
    "adj_*": "percentiles with failures as infinitely slow; here those are ttft_inclusive and the like, of runs measured here",
    "effective_latency": "counts from when the request was let go, not from when it was due",
}


ARRIVALS = {"poisson": Arrival.POISSON, "constant": Arrival.CONSTANT}


def is_ours(document: Any) -> bool:
    if isinstance(document, list):
        first = document[0] if document else None
        return (
            isinstance(first, Mapping)
            and {"metadata", "metrics"} <= set(first)
            and "benchmark_phase" in first["metadata"]
        )
    return isinstance(document, Mapping) and "aiperf_version" in document


def read(document: Any) -> Found:
    """Raises InvalidInput where no request of the measured phase is in it."""
    if isinstance(document, list):
        return _of_lines(document)
    config = document.get("input_config") or {}
    done, failed = (
        whole((document.get(name) or {}).get("avg")) or 0 for name in ("request_count", "error_request_count")
    )
    if not done + failed:
        raise InvalidInput("it holds no request of the measured phase")
    load = _load(config, done + failed)
    stage = FoundStage(
        name=load.name if load else "all", load=load, sent=done + failed, succeeded=done, failed=failed,
        errors=_errors(document.get("error_summary") or []) if failed else {}, duration_s=_average(document, "benchmark_duration"),
        prompt_tokens=whole(_average(document, "total_isl")), output_tokens=whole(_average(document, "total_osl")),
        requests_per_s=_average(document, "request_throughput"), output_tokens_per_s=_average(document, "output_token_throughput"),
        total_tokens_per_s=_average(document, "total_token_throughput"), goodput=_average(document, "good_request_fraction"),
        summaries={ours: found for theirs, ours in WORDS.items() if (found := _summary(document.get(theirs), done, ours))},
    )  # fmt: skip
    return Found(
        tool=TOOL, version=document.get("aiperf_version"), repetitions=[[stage]], model=_model(config), interrupted=document.get("was_cancelled") is True,
        environment={"local_time": said} if isinstance(said := document.get("start_time"), str) else {},
        load_told=load is not None,
        about={
            "prompts": [each.get("prompts") for each in config.get("datasets") or []] or config.get("input"),
            "load": [{key: phase.get(key) for key in ("type", "rate", "concurrency", "smoothness")} for phase in _phases(config)],
        },
        definitions=DEFINITIONS | dict.fromkeys(("requests_per_s", "output_tokens_per_s"), OVER_THE_PHASE), refused=REFUSED,
    )  # fmt: skip


def _average(document: Mapping[str, Any], name: str) -> float | None:
    return number((document.get(name) or {}).get("avg"))


def _phases(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The measured ones; files before `phases` came have one, as `loadgen`."""
    if "phases" in config:
        return [each for each in config["phases"] or [] if each.get("kind", "profiling") == "profiling"]
    said = config.get("loadgen") or {}
    load = {
        "rate": said.get("request_rate"),
        "concurrency": said.get("concurrency"),
        "type": said.get("request_rate_mode"),
    }
    return [load] if said else []


def _model(config: Mapping[str, Any]) -> str | None:
    named = [each.get("name") for each in (config.get("models") or {}).get("items") or []]
    older = (config.get("endpoint") or {}).get("model_names") or []
    return next((name for name in (*named, *older) if isinstance(name, str)), None)


def _load(config: Mapping[str, Any], count: int) -> Stage | None:
    phases = _phases(config)
    if len(phases) != 1:
        return None
    rate, streams = number(phases[0].get("rate")), whole(phases[0].get("concurrency"))
    if rate:
        return opened(rate, count, ARRIVALS.get(str(phases[0].get("type"))))
    return closed(streams, count) if streams else None


def _errors(summary: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Their type and the server's code."""
    found: dict[str, int] = {}
    for each in summary:
        said = each.get("error_details") or {}
        kind = " ".join(str(part) for part in (said.get("type"), said.get("code")) if part) or "other"
        found[kind[:63]] = found.get(kind[:63], 0) + (whole(each.get("count")) or 0)
    return found


def _summary(found: Mapping[str, Any] | None, done: int, metric: str) -> Summary | None:
    """Before schema 1.1 no count stands in it: it is of all answers, but for gaps of chunks, which are more."""
    if not found:
        return None
    said = whole(found.get("count"))
    count = said if said is not None or metric == "chunk_gap" else done
    if not count:
        return None
    return Summary(count, **{ours: scaled(found.get(theirs), MS) for ours, theirs in STATISTICS.items()})


def _of_lines(lines: Sequence[Mapping[str, Any]]) -> Found:
    """Every request; the load stands in the other file alone."""
    measured = [line for line in lines if line["metadata"].get("benchmark_phase") == "profiling"]
    good = [line for line in measured if not line.get("error")]
    if not measured:
        raise InvalidInput("it holds no request of the measured phase")
    began = min(whole(line["metadata"]["request_start_ns"]) or 0 for line in measured)
    ended = max(whole(line["metadata"]["request_end_ns"]) or 0 for line in measured)
    span = (ended - began) / 1e9
    output = _tokens(good, "output_sequence_length")
    values: dict[str, list[float]] = {ours: [] for ours in WORDS.values()}
    for line in good:
        for theirs, ours in WORDS.items():
            said = (line["metrics"].get(theirs) or {}).get("value")
            values[ours] += [value * MS for value in known(said if isinstance(said, list) else [said])]
    stage = FoundStage(
        name="all", sent=len(measured), succeeded=len(good), failed=len(measured) - len(good),
        errors=_errors([{"error_details": line["error"], "count": 1} for line in measured if line.get("error")]),
        started_at=at(began / 1e9), duration_s=span, prompt_tokens=_tokens(good, "input_sequence_length"), output_tokens=output,
        requests_per_s=len(good) / span if span else None, output_tokens_per_s=output / span if span and output else None,
        values={name: found for name, found in values.items() if found},
    )  # fmt: skip
    return Found(
        tool=TOOL, repetitions=[[stage]], started_at=at(began / 1e9), ended_at=at(ended / 1e9), refused=REFUSED, load_told=False,
        definitions=DEFINITIONS | dict.fromkeys(("requests_per_s", "output_tokens_per_s"), OVER_THE_REQUESTS),
    )  # fmt: skip


def _tokens(lines: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """None where a request does not tell."""
    found = known((line["metrics"].get(name) or {}).get("value") for line in lines)
    return round(sum(found)) if found and len(found) == len(lines) else None
