"""`vllm bench serve --save-result [--save-detailed]`, read from vllm-project/vllm 0.33.0 (vllm/benchmarks/serve.py,
lib/endpoint_request_func.py); files since 0.6 have the same names.

With --save-detailed every request's times are there (seconds); without, what `--percentile-metrics` asked for (milliseconds).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Arrival, Stage

from .found import MS, Found, FoundStage, Summary, closed, known, need, number, opened, scaled, whole

TOOL = "vLLM bench"
WORDS = {"ttft": "ttft", "tpot": "tpot", "itl": "chunk_gap", "e2el": "e2e"}  # theirs -> ours
DEFINITIONS = {
    "chunk_gap": "itl: gaps between chunks over all requests, not divided by the tokens in a chunk",
    "ttft": "of the completions API the first chunk counts, with text or without",
    "requests_per_s": "over the whole run, its end when streams run dry included",
    "output_tokens_per_s": "over the whole run, its end when streams run dry included",
}
REFUSED = {
    "itl": "what it calls ITL is a gap between chunks, and stands as chunk_gap",
    "request_goodput": "requests per second that met the objectives; here goodput is a share of those due",
    "max_output_tokens_per_s": "its peak counts chunks of the fullest second",
}


def is_ours(document: Any) -> bool:
    first = document[0] if isinstance(document, list) and document else document
    return isinstance(first, Mapping) and {"request_throughput", "total_output_tokens", "num_prompts"} <= set(first)


def read(document: Any) -> Found:
    """One run, or a list of runs (--append-result, and the summary of a sweep): the same load again is a repetition. Raises
    InvalidInput where one lacks what every such file has."""
    runs = document if isinstance(document, list) else [document]
    works = [_work(run) for run in runs]
    if any(
        (work, run.get("model_id")) != (works[0], runs[0].get("model_id"))
        for work, run in zip(works, runs, strict=True)
    ):
        raise InvalidInput("it holds runs of several models or kinds of load; split it")
    first = runs[0]
    return Found(
        tool=TOOL, repetitions=[[_stage(run)] for run in runs], model=_text(first.get("model_id")),
        engine="vllm" if first.get("backend") == "vllm" else None, definitions=DEFINITIONS, refused=REFUSED,
        environment={"local_time": said} if (said := _date(first.get("date"))) else {}, about=works[0],
    )  # fmt: skip


def _work(run: Mapping[str, Any]) -> dict[str, Any]:
    ramp = [run.get(f"ramp_up_{name}") for name in ("strategy", "start_rps", "end_rps")]
    found: dict[str, Any] = {
        "burstiness": str(run.get("burstiness")), "max_concurrency": run.get("max_concurrency"), "backend": _text(run.get("backend"))
    }  # fmt: skip
    if any(ramp):
        found["ramp"] = ramp
    return found if _load(run, 1) else found | {"requests": whole(run.get("num_prompts"))}


def _stage(run: Mapping[str, Any]) -> FoundStage:
    completed, asked = whole(need(run, "completed")), whole(need(run, "num_prompts"))
    if completed is None or asked is None:
        raise InvalidInput("completed and num_prompts are no numbers")
    # `failed` came in 0.11.2; before it all that did not complete had failed
    failed = whole(run.get("failed"))
    failed = asked - completed if failed is None else failed
    load = _load(run, asked)
    stage = FoundStage(
        name=load.name if load else "all", load=load, sent=completed + failed, due=asked, succeeded=completed, failed=failed,
        errors={"other": failed} if failed else {}, duration_s=number(run.get("duration")),
        prompt_tokens=whole(run.get("total_input_tokens")), output_tokens=whole(run.get("total_output_tokens")),
        requests_per_s=number(run.get("request_throughput")), output_tokens_per_s=number(run.get("output_throughput")),
        total_tokens_per_s=number(run.get("total_token_throughput")),
    )  # fmt: skip
    if completed:
        values = _each(run) if run.get("ttfts") and run.get("itls") else {}
        if len(values.get("ttft", ())) == completed:
            stage.values = values
        else:
            stage.summaries = {
                ours: found for theirs, ours in WORDS.items() if (found := _summary(run, theirs, completed))
            }
    return stage


def _load(run: Mapping[str, Any], asked: int) -> Stage | None:
    """None where there is none that a stage here can name: all at once, or a ramp."""
    rate, streams = number(run.get("request_rate")), whole(run.get("max_concurrency"))
    if run.get("ramp_up_strategy"):
        return None
    if rate:
        shape = number(run.get("burstiness"))  # gamma arrivals, of which 1 is Poisson; files without it are of Poisson
        even = shape is None or shape == 1
        return opened(rate, asked, Arrival.POISSON if even else Arrival.GAMMA, None if even else shape)
    return closed(streams, asked) if streams else None


def _each(run: Mapping[str, Any]) -> dict[str, list[float]]:
    """By request. Failed ones stand in the lists too, with zeros or with what they had by then; `errors` tells them apart.
    The end is in `latencies` since 0.30; before, it is the first token and the gaps after it."""
    ttfts, itls, outputs = run["ttfts"], run["itls"], run.get("output_lens") or []
    errors, ends = run.get("errors") or [""] * len(ttfts), run.get("latencies") or [None] * len(ttfts)
    if not len(ttfts) == len(itls) == len(outputs) == len(errors) == len(ends):
        raise InvalidInput("ttfts, itls, output_lens and errors are of different lengths")
    found: dict[str, list[float]] = {"ttft": [], "tpot": [], "chunk_gap": [], "e2e": []}
    for ttft, gaps, tokens, error, end in zip(ttfts, itls, outputs, errors, ends, strict=True):
        first, after = number(ttft), known(gaps)
        if error or not first or not tokens:
            continue
        last = number(end) or first + sum(after)
        found["ttft"].append(first)
        found["e2e"].append(last)
        found["chunk_gap"] += after
        if tokens > 1 and after:
            found["tpot"].append((last - first) / (tokens - 1))
    return found


def _summary(document: Mapping[str, Any], word: str, count: int) -> Summary | None:
    """`count` answers; of TPOT those of one token are not among them, and how many there are it does not tell."""
    if (mean := scaled(document.get(f"mean_{word}_ms"), MS)) is None:
        return None
    said = {f"p{q}": scaled(document.get(f"p{q}_{word}_ms"), MS) for q in (90, 95, 99)}
    median = scaled(document.get(f"median_{word}_ms"), MS)
    return Summary(count, mean=mean, stddev=scaled(document.get(f"std_{word}_ms"), MS), p50=median, **said)


def _date(text: Any) -> str | None:
    """`20300131-120000` of a clock that does not say its zone: no instant, so it is a note and not a time."""
    try:
        return datetime.strptime(str(text), "%Y%m%d-%H%M%S").isoformat()
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
