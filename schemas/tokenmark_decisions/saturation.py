"""How far a server goes, from stages of one run at several loads (pure): where throughput is spent, where latency bends, which loads keep
every objective and with what margin, and where each objective breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenmark_schemas.result import ObjectiveResult, RunResult, StageResult

SPENT = 0.95  # of the best throughput: who has that has it all
BENT = 1.5  # of the lowest load's median TTFT


@dataclass(frozen=True)
class Break:
    """An objective, the highest load tried that met it, and the lowest that did not; None where there is none."""

    objective: str
    holds_at: float | None
    breaks_at: float | None


@dataclass(frozen=True)
class Saturation:
    """Loads in `unit`. `saturates_at` is the lowest load with nearly all of the best throughput, None where throughput was still
    growing at the highest load; `knee` is where two straight lines meet, of five loads or more; `bends_at` the lowest load whose median
    TTFT is half as long again as that of the lowest load."""

    unit: str
    loads: tuple[float, ...]
    saturates_at: float | None
    best_tokens_per_s: float | None
    knee: float | None
    bends_at: float | None
    low: float | None  # of the range within every objective
    high: float | None
    margin: float | None  # (limit - value) / limit of the tightest upper limit at `high`
    breaks: tuple[Break, ...]


def load_of(stage: StageResult) -> float | None:
    """Streams of a closed loop, requests per second of an open one."""
    if stage.load is None:
        return None
    return float(stage.load.concurrency or stage.load.request_rate or 0) or None


def saturation(result: RunResult) -> Saturation | None:
    """None of fewer than two loads of one kind."""
    levels = sorted(((load, stage) for stage in result.stages if (load := load_of(stage))), key=lambda pair: pair[0])
    kinds = {stage.load.concurrency is not None for _, stage in levels if stage.load is not None}
    if len(levels) < 2 or len(kinds) > 1:
        return None
    curve = [(load, tokens) for load, stage in levels if (tokens := throughput_of(stage)) is not None]
    best = max((tokens for _, tokens in curve), default=None)
    spent = [load for load, tokens in curve if best and tokens >= SPENT * best]
    kept = [(load, stage) for load, stage in levels if _keeps(result, stage.name)] if result.objectives else []
    low, high, margin = _range(result, kept)
    return Saturation(
        unit="streams" if kinds == {True} else "requests/s", loads=tuple(load for load, _ in levels),
        saturates_at=spent[0] if spent and spent[0] < levels[-1][0] else None, best_tokens_per_s=best, knee=knee(curve),
        bends_at=_bend(levels), low=low, high=high, margin=margin, breaks=tuple(_breaks(result, levels)),
    )  # fmt: skip


def throughput_of(stage: StageResult) -> float | None:
    """Output tokens per second, or of a database calls."""
    return (
        stage.throughput.output_tokens_per_s
        if stage.throughput.output_tokens_per_s is not None
        else stage.throughput.requests_per_s
    )


def _bend(levels: Sequence[tuple[float, StageResult]]) -> float | None:
    medians = [(load, stage.metrics["ttft"].p50) for load, stage in levels]
    first = medians[0][1]
    return next((load for load, p50 in medians if first and p50 and p50 > BENT * first), None)


def _range(
    result: RunResult, kept: Sequence[tuple[float, StageResult]]
) -> tuple[float | None, float | None, float | None]:
    """From the lowest load with half of the throughput of the highest that keeps every objective, to that one."""
    if not kept:
        return None, None, None
    high, stage = kept[-1]
    best = throughput_of(stage) or 0.0
    low = next((load for load, each in kept if (throughput_of(each) or 0.0) >= best / 2), high)
    return low, high, _margin(result, stage.name)


def _keeps(result: RunResult, stage: str) -> bool:
    """A stage that nobody judged, as those of a search that are not its answer, keeps nothing."""
    outcomes = [o.met for o in result.objectives if o.stage == stage]
    return bool(outcomes) and set(outcomes) == {"true"}


def _margin(result: RunResult, stage: str) -> float | None:
    found = [
        1 - o.value / o.limit
        for o in result.objectives
        if o.stage == stage and o.value is not None and o.limit and o.unit in ("s", "ratio")
    ]
    return min(found) if found else None


def _breaks(result: RunResult, levels: Sequence[tuple[float, StageResult]]) -> list[Break]:
    at = {stage.name: load for load, stage in levels}
    groups: dict[tuple[str, str], list[ObjectiveResult]] = {}
    for each in result.objectives:
        if each.stage in at:
            groups.setdefault((each.metric, each.statistic), []).append(each)
    found = []
    for (metric, statistic), outcomes in groups.items():
        missed = [at[o.stage] for o in outcomes if o.met == "false"]
        met = [at[o.stage] for o in outcomes if o.met == "true"]
        found.append(Break(f"{metric} {statistic}", max(met, default=None), min(missed, default=None)))
    return found


def knee(curve: Sequence[tuple[float, float]]) -> float | None:
    """Where throughput stops growing with load: the break of the two straight lines that fit best, in order of load.

    None with fewer than five points, or where one line fits nearly as well (the load never got there).
    """
    points = sorted(curve)
    if len(points) < 5:
        return None
    whole = _misfit(points)
    splits = [(_misfit(points[: at + 1]) + _misfit(points[at:]), points[at][0]) for at in range(1, len(points) - 1)]
    best, load = min(splits)
    flatter = _slope([p for p in points if p[0] >= load]) < 0.5 * _slope([p for p in points if p[0] <= load])
    return load if best < 0.5 * whole and flatter else None


def _slope(points: Sequence[tuple[float, float]]) -> float:
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _misfit(points: Sequence[tuple[float, float]]) -> float:
    """Squared distance from the least-squares line."""
    n, slope = len(points), _slope(points)
    at = sum(y for _, y in points) / n - slope * sum(x for x, _ in points) / n
    return sum((y - (at + slope * x)) ** 2 for x, y in points)
