"""Collected sums -> `run-result/v1` (pure, but for the facts of the machine in `provenance`)."""

from __future__ import annotations

from collections.abc import Sequence

from tokenmark_schemas.benchmarkrun import Objective
from tokenmark_schemas.result import (
    Client,
    Coalesced,
    Lag,
    Repetition,
    RepetitionMetric,
    Requests,
    StageResources,
    StageResult,
    StageThroughput,
    Stat,
    TokenCounts,
    TurnResult,
    Window,
)
from tokenmark_schemas.workload import Stage

from ..load.clock import NS, iso_at
from ..samples.aggregate import BOUNDED, Collected, steady_window, tokens_between
from ..samples.metrics import METRICS
from ..stats.distribution import Distribution
from ..stats.summary import bounded, enough_for, highest_of, percentile, stat, with_intervals
from .objectives import latency_limits


def stage_result(
    stage: Stage,
    parts: list[Collected],
    *,
    max_output: int,
    objectives: Sequence[Objective],
    order: list[int],
    seed: int | None = None,
    calibration: dict[str, float] | None = None,
    server: dict[str, float] | None = None,
    resources: StageResources | None = None,
) -> StageResult:
    """One stage over all its repetitions: samples pooled, each repetition's figures beside them.

    Without a seed there are no intervals: they are for the result that stays.
    """
    pooled = Collected.pooled(parts)
    throughput = _throughput(stage, parts)
    return StageResult(
        name=stage.name,
        load=stage,
        window=_window(parts, stage),
        requests=Requests(
            due=pooled.due, sent=pooled.sent, succeeded=pooled.succeeded, failed=pooled.failed,
            cancelled=pooled.cancelled, errors=dict(pooled.errors),
        ),
        tokens=TokenCounts(
            prompt=pooled.prompt_tokens if pooled.prompt_known else None,
            output=pooled.output_tokens,
            max_output=max_output,
            output_source=_source(pooled),
            mismatches=pooled.mismatches,
            cached=pooled.cached_tokens if pooled.cached_known else None,
            reasoning=pooled.reasoning_tokens,
        ),
        metrics=_metrics(pooled, parts, seed),
        throughput=throughput,
        goodput=pooled.good / pooled.due if latency_limits(objectives) and pooled.due else None,
        client=_client(pooled, parts).model_copy(update={"calibration": calibration}),
        server=server,
        resources=resources,
        turns=_turns(pooled),
        repetitions=[_repetition(i, order[i], part, stage) for i, part in enumerate(parts)],
    )  # fmt: skip


def _metrics(pooled: Collected, parts: list[Collected], seed: int | None) -> dict[str, Stat]:
    found = {m.id: stat(pooled.values[m.id], m.unit) for m in METRICS}
    if seed is not None:
        found = {name: with_intervals(s, [part.values[name] for part in parts], seed) for name, s in found.items()}
    if pooled.uncertain or pooled.coalesced_reads:
        for name in BOUNDED:
            found[name] = bounded(found[name], pooled.lowest[name], pooled.highest[name])
    return found


def _turns(pooled: Collected) -> list[TurnResult] | None:
    if not pooled.turns:
        return None
    return [
        TurnResult(
            turn=number + 1,
            count=turn.ttft.count,
            ttft=stat(turn.ttft, "s"),
            e2e=stat(turn.e2e, "s"),
            prompt_tokens=turn.prompt_tokens / turn.prompts_told if turn.prompts_told else None,
            cached_tokens=turn.cached_tokens / turn.cached_told if turn.cached_told else None,
        )
        for number, turn in sorted(pooled.turns.items())
    ]


def _source(pooled: Collected) -> str | None:
    kinds = list(pooled.sources)
    return None if not kinds else kinds[0] if len(kinds) == 1 else "mixed"


def _lanes(stage: Stage) -> int:
    return stage.concurrency or 1


def _whole(part: Collected) -> float:
    """Length of a repetition's window in seconds: from its start to the last send or, in open loop, the last due."""
    return sum(max(0, end.stop_ns - end.start_ns) for end in part.windows) / NS


def _window(parts: list[Collected], stage: Stage) -> Window:
    steady = [steady_window(part, _lanes(stage)) for part in parts]
    known = [(b - a) / NS for a, b in filter(None, steady)]
    first = parts[0].windows[0].start_ns if parts and parts[0].windows else 0
    drain = max((max(0, p.last_end_ns - p.windows[-1].stop_ns) for p in parts if p.windows), default=0)
    return Window(
        started_at=iso_at(first),
        duration_s=sum(_whole(part) for part in parts),
        steady_s=sum(known) if known else None,
        drain_s=drain / NS,
        ended_early=next((part.ended_early for part in parts if part.ended_early), None),
    )


def _throughput(stage: Stage, parts: list[Collected]) -> StageThroughput:
    steady_s = tokens = requests = 0.0
    for part in parts:
        window = steady_window(part, _lanes(stage))
        if window is None:
            continue
        steady_s += (window[1] - window[0]) / NS
        tokens += tokens_between(part, *window)
        requests += sum(1 for end in part.ends if window[0] <= end < window[1])
    whole_s = sum((max(p.last_end_ns, p.windows[-1].stop_ns) - p.windows[0].start_ns) / NS for p in parts if p.windows)
    prompt = sum(p.prompt_tokens for p in parts)
    output = sum(p.output_tokens for p in parts)
    done = sum(p.succeeded for p in parts)
    rate = tokens / steady_s if steady_s else None
    return StageThroughput(
        requests_per_s=requests / steady_s if steady_s else None,
        output_tokens_per_s=rate,
        total_tokens_per_s=rate * (1 + prompt / output) if rate is not None and output and prompt else None,
        requests_per_s_whole=done / whole_s if whole_s else 0.0,
        output_tokens_per_s_whole=output / whole_s if whole_s else 0.0,
    )


def _client(pooled: Collected, parts: list[Collected]) -> Client:
    ticks = [end.tick for part in parts for end in part.windows]
    busy_ns = sum(tick.cpu_ns for tick in ticks)
    wall_ns = sum(end.tick.at_ns - end.start_ns for part in parts for end in part.windows)
    fallbacks = sum(tick.stamp_fallbacks for tick in ticks)
    workers = max((end.workers for part in parts for end in part.windows), default=1)
    return Client(
        cpu_us_per_token=busy_ns / 1e3 / pooled.chunks if pooled.chunks else None,
        cores=busy_ns / wall_ns if wall_ns else 0.0,
        read_lag=_lag(pooled.read_lags_s),
        coalesced=Coalesced(
            reads=pooled.coalesced_reads,
            first_tokens=pooled.uncertain,
            share=pooled.coalesced_reads / pooled.reads if pooled.reads else 0.0,
            max_interval_s=pooled.coalesced_interval_ns / NS,
        ),
        send_lag=_lag(pooled.client_lags_s),
        loop_lag_max_s=max((tick.loop_lag_max_ns for tick in ticks), default=0) / NS,
        gc_pause_max_s=max((tick.gc_pause_max_ns for tick in ticks), default=0) / NS,
        stamp_fallbacks=fallbacks,
        clock_steps=sum(tick.clock_steps for tick in ticks),
        run_delay_s=sum(tick.run_delay_ns for tick in ticks) / NS if any(t.run_delay_ns for t in ticks) else None,
        stale_connections=sum(tick.stale_connections for tick in ticks),
        workers=workers,
        pods=pooled.pods,
        clock_uncertainty_s=pooled.clock_uncertainty_ns / NS if pooled.pods > 1 else None,
        start_skew_s=max(end.skew_ns for part in parts for end in part.windows) / NS if workers > 1 else None,
        backlog_max_bytes=max((tick.backlog_max_bytes for tick in ticks), default=0),
    )


def _lag(values: Distribution) -> Lag:
    extremes = values.extremes
    if extremes is None:
        return Lag()
    ordered = values.ordered()
    return Lag(
        p50=percentile(ordered, 0.5),
        p99=percentile(ordered, 0.99) if enough_for(len(ordered), 0.99) else None,
        tail=percentile(ordered, highest_of(len(ordered))),
        max=extremes[1],
    )


def _repetition(index: int, order: int, part: Collected, stage: Stage) -> Repetition:
    throughput = _throughput(stage, [part])
    metrics = {}
    for metric in METRICS:
        ordered = part.values[metric.id].ordered()
        shown = {
            name: percentile(ordered, q)
            for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            if enough_for(len(ordered), q)
        }
        metrics[metric.id] = RepetitionMetric(count=len(ordered), **shown)
    return Repetition(
        index=index, order=order, succeeded=part.succeeded, failed=part.failed, metrics=metrics,
        output_tokens_per_s=throughput.output_tokens_per_s, requests_per_s=throughput.requests_per_s,
    )  # fmt: skip
