"""Collected sums -> `run-result/v1` (pure, but for the facts of the machine in `provenance`)."""

from __future__ import annotations

from collections.abc import Sequence

from tokenmark_decisions import compared
from tokenmark_decisions.distribution import Distribution
from tokenmark_decisions.quality import quality_of
from tokenmark_schemas.benchmarkrun import Objective
from tokenmark_schemas.database import Operation
from tokenmark_schemas.quality import MOST_TESTS, AskedTest, StageQuality
from tokenmark_schemas.result import (
    Client,
    Coalesced,
    Lag,
    MeasuredRequests,
    MeasuredStage,
    MeasuredTokens,
    MeasuredWindow,
    OperationResult,
    Repetition,
    RepetitionMetric,
    StageResources,
    Stat,
    Traffic,
    TurnResult,
)
from tokenmark_schemas.workload import Stage

from ..engines.rag import MOST_STEPS, UNEXPLAINED
from ..load.clock import NS, iso_at
from ..load.resending import TELLS
from ..samples.aggregate import Collected
from ..samples.metrics import METRICS
from ..samples.records import BOUNDED, CLUSTERED, Tokens
from ..stats.clusters import Clusters
from ..stats.summary import bounded, enough_for, highest_of, inclusive, percentile, standard_error, stat, with_intervals
from .objectives import latency_limits
from .throughput import steady_window, throughput_of

MOST_SAID = 300  # characters of what a failure said
INCLUSIVE = (
    "ttft",
    "ttft_scheduled",
    "ttfo",
    "tpot",
    "e2e",
    "e2e_scheduled",
)  # what a request without an answer failed to have


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
    server_dropped: str | None = None,
    resources: StageResources | None = None,
    operations: Sequence[Operation] = (),
) -> MeasuredStage:
    """One stage over all its repetitions: samples pooled, each repetition's figures beside them.

    Without a seed there are no intervals: they are for the result that stays.
    """
    pooled = Collected.pooled(parts)
    done, tokens = pooled.outcomes, pooled.tokens
    throughput = throughput_of(stage, parts)
    return MeasuredStage(
        name=stage.name,
        load=stage,
        window=_window(parts, stage),
        requests=MeasuredRequests(
            due=done.due, sent=done.sent, succeeded=done.succeeded, failed=done.failed,
            cancelled=done.cancelled, errors=dict(done.errors), unstreamed=done.unstreamed, failing_most=done.failing_most,
            error_messages={kind: said[:MOST_SAID] for kind, said in done.messages.items()},
        ),
        tokens=MeasuredTokens(
            prompt=tokens.prompt,
            output=tokens.output,
            max_output=max_output,
            asked=tokens.asked,
            output_source=_source(tokens),
            mismatches=tokens.mismatches,
            cached=tokens.cached,
            reasoning=tokens.reasoning,
        ),
        metrics=_metrics(pooled, parts, seed),
        throughput=throughput,
        traffic=_traffic(pooled),
        goodput=done.good / done.due if latency_limits(objectives) and done.due else None,
        client=_client(pooled, parts).model_copy(update={"calibration": calibration}),
        server=server,
        server_dropped=server_dropped,
        resources=resources,
        steps=_steps(pooled),
        retrieved=stat(pooled.steps.retrieved, "passages") if pooled.steps.retrieved.count else None,
        turns=_turns(pooled),
        operations=_operations(pooled, operations),
        quality=_quality(pooled),
        repetitions=[_repetition(i, order[i], part, stage) for i, part in enumerate(parts)],
    )  # fmt: skip


def _traffic(pooled: Collected) -> Traffic:
    found = pooled.traffic
    return Traffic(
        sent_bytes=found.sent_bytes, received_bytes=found.received_bytes, stalled=found.stalled if TELLS else None,
        stalled_s=found.stalled_ns / NS if TELLS else None,
    )  # fmt: skip


def _metrics(pooled: Collected, parts: list[Collected], seed: int | None) -> dict[str, Stat]:
    values, done = pooled.latencies.values, pooled.outcomes
    found = {m.id: stat(values[m.id], m.unit) for m in METRICS}
    if seed is not None:
        found = {name: _with_intervals(name, s, pooled, parts, seed) for name, s in found.items()}
    if pooled.reads.uncertain or pooled.reads.coalesced_s.count:
        for name in BOUNDED:
            found[name] = bounded(found[name], pooled.latencies.lowest[name], pooled.latencies.highest[name])
    if lost := done.failed + done.cancelled:
        found |= {f"{name}_inclusive": inclusive(values[name], found[name].unit, lost) for name in INCLUSIVE}
    return found


def _with_intervals(name: str, found: Stat, pooled: Collected, parts: list[Collected], seed: int) -> Stat:
    clusters = [pooled.latencies.clusters[name]] if name in CLUSTERED else []
    return with_intervals(found, [part.latencies.values[name] for part in parts], seed, *clusters)


def _steps(pooled: Collected) -> dict[str, Stat] | None:
    told = {name: stat(seconds, "s") for name, seconds in list(pooled.steps.seconds.items())[:MOST_STEPS]}
    if told and pooled.steps.unexplained:
        told[UNEXPLAINED] = stat(pooled.steps.gap_s, "s")
    return told or None


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


def _operations(pooled: Collected, operations: Sequence[Operation]) -> list[OperationResult] | None:
    """In the workload's order; one that chance never chose is left out."""
    found = [
        OperationResult(
            name=each.name, kind=each.kind, failed=called.failed, e2e=stat(called.e2e, "s"),
            e2e_scheduled=stat(called.e2e_scheduled, "s"), searches=each.searches,
            recall=stat(called.recall, "ratio") if called.recall.count else None,
        )
        for each in operations
        if (called := pooled.called.get(each.name)) is not None
    ]  # fmt: skip
    return found or None


def _quality(pooled: Collected) -> StageQuality | None:
    """In order of their names, so that two models' results stand side by side."""
    if not pooled.tested:
        return None
    outcomes = [
        AskedTest(test=name, kind=found.kind, asked=found.asked, right=found.right, answer=found.wrong or found.good or "")
        for name, found in sorted(pooled.tested.items())
    ]  # fmt: skip
    judged = sum(each.asked for each in outcomes)
    return quality_of(outcomes, pooled.outcomes.due - judged, MOST_TESTS)


def _source(tokens: Tokens) -> str | None:
    kinds = list(tokens.sources)
    return None if not kinds else kinds[0] if len(kinds) == 1 else "mixed"


def _whole(part: Collected) -> float:
    """Length of a repetition's window in seconds: from its start to the last send or, in open loop, the last due."""
    return sum(max(0, end.stop_ns - end.start_ns) for end in part.windows) / NS


def _window(parts: list[Collected], stage: Stage) -> MeasuredWindow:
    steady = [steady_window(part, stage) for part in parts]
    known = [(b - a) / NS for a, b in filter(None, steady)]
    first = parts[0].windows[0].start_ns if parts and parts[0].windows else 0
    drain = max((max(0, p.last_end_ns - p.windows[-1].stop_ns) for p in parts if p.windows), default=0)
    return MeasuredWindow(
        started_at=iso_at(first),
        duration_s=sum(_whole(part) for part in parts),
        steady_s=sum(known) if known else None,
        drain_s=drain / NS,
        ended_early=next((part.ended_early for part in parts if part.ended_early), None),
    )


def _client(pooled: Collected, parts: list[Collected]) -> Client:
    ticks = [end.tick for part in parts for end in part.windows]
    busy_ns = sum(tick.cpu_ns for tick in ticks)
    wall_ns = sum(end.tick.at_ns - end.start_ns for part in parts for end in part.windows)
    fallbacks = sum(tick.stamp_fallbacks for tick in ticks)
    arrived = sum(part.flow.tokens.total for part in parts)
    workers = max((end.workers for part in parts for end in part.windows), default=1)
    return Client(
        cpu_us_per_token=busy_ns / 1e3 / arrived if arrived else None,
        cores=busy_ns / wall_ns if wall_ns else 0.0,
        read_lag=_lag(pooled.reads.lags_s),
        coalesced=Coalesced(
            reads=pooled.reads.coalesced_s.count,
            first_tokens=pooled.reads.uncertain,
            share=pooled.reads.coalesced_s.count / pooled.reads.count if pooled.reads.count else 0.0,
            tail_s=_lag(pooled.reads.coalesced_s).tail,
            max_interval_s=(pooled.reads.coalesced_s.extremes or (0.0, 0.0))[1],
        ),
        send_lag=_lag(pooled.latencies.send_lags_s),
        busiest_cores=max((end.busiest_cores for part in parts for end in part.windows), default=0.0),
        away_s=sum(tick.away_ns for tick in ticks) / NS,
        loop_lag_max_s=max((tick.loop_lag_max_ns for tick in ticks), default=0) / NS,
        gc_pause_max_s=max((tick.gc_pause_max_ns for tick in ticks), default=0) / NS,
        stamp_fallbacks=fallbacks,
        reads=pooled.reads.count,
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
    throughput = throughput_of(stage, [part])
    metrics = {}
    for metric in METRICS:
        ordered, clusters = part.latencies.values[metric.id].ordered(), part.latencies.clusters.get(metric.id)
        metrics[metric.id] = repetition_metric(ordered, clusters, errors=metric.id in compared.METRICS)
    searched = [called.recall for called in part.called.values() if called.recall.count]
    searches = sum(recall.count for recall in searched)
    return Repetition(
        recall=sum((recall.mean or 0.0) * recall.count for recall in searched) / searches if searches else None, searches=searches,
        index=index, order=order, succeeded=part.outcomes.succeeded, failed=part.outcomes.failed, metrics=metrics,
        output_tokens_per_s=throughput.output_tokens_per_s, requests_per_s=throughput.requests_per_s,
    )  # fmt: skip


def repetition_metric(ordered: Sequence[float], clusters: Clusters | None = None, *, errors: bool) -> RepetitionMetric:
    """Of one repetition's values in ascending order: the percentiles that enough lie above, with their errors where these are wanted."""
    shown: dict[str, float] = {}
    for name, q in compared.QUANTILES.items():
        if enough_for(len(ordered), q):
            shown[name] = percentile(ordered, q)
            if errors:
                shown[f"se_{name}"] = standard_error(ordered, q, clusters)
    return RepetitionMetric(count=len(ordered), **shown)
