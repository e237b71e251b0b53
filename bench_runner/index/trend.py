"""Series of comparable runs, oldest first, and where each moved: candidates by `ruptures` (PELT, least squares), judged by
`tokenmark_decisions.changes`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenmark_decisions.changes import LEAST_RUNS, Point, Series, confirmed
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult, StageResult

from ..samples.metrics import METRICS

RATES = ("output_tokens_per_s", "requests_per_s")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
PENALTY = (
    1.5  # times the variance times the logarithm of the length: below the usual 2, for what is too much is taken away
)
LEAST_SPREAD = 1e-4  # of a value: runs that agree exactly are no reason to see a change in every clock tick


def metric_of(text: str) -> tuple[str, str]:
    """`ttft:p50` or `output_tokens_per_s`. Raises InvalidInput for what no run has."""
    metric, _, statistic = text.partition(":")
    if metric in RATES and not statistic:
        return metric, ""
    if metric not in {each.id for each in METRICS} or statistic not in STATISTICS:
        raise InvalidInput(f"--metric {text}: write METRIC:STATISTIC such as ttft:p50, or one of {', '.join(RATES)}")
    return metric, statistic


def series_of(found: Iterable[tuple[str, RunResult]], metric: str, minimum_effect: float) -> list[Series]:
    """(source, result) in any order; invalid, interrupted and imported runs are left out. A provider has its own series."""
    name, statistic = metric_of(metric)
    groups: dict[tuple[str, str, str, str, str], list[Point]] = {}
    for source, result in found:
        if result.verdict.state in ("invalid", "unknown") or result.run.interrupted:
            continue
        provenance = result.provenance
        head = (
            provenance.workload.name, provenance.model,
            provenance.environment.get("provider", ""), provenance.fingerprint,
        )  # fmt: skip
        for stage in result.stages:
            if (value := _value(stage, name, statistic)) is not None and value > 0:
                groups.setdefault((*head, stage.name), []).append(Point(source, result.run.started_at or "", value))
    return [
        _series(key, points, minimum_effect) for key, points in sorted(groups.items(), key=lambda each: each[0][:-1])
    ]


def _value(stage: StageResult, name: str, statistic: str) -> float | None:
    found: float | None = getattr(stage.metrics[name], statistic) if statistic else getattr(stage.throughput, name)
    return found


def _series(key: tuple[str, str, str, str, str], points: list[Point], minimum_effect: float) -> Series:
    workload, model, provider, fingerprint, stage = key
    ordered = sorted(points, key=lambda point: point.at)
    values = [point.value for point in ordered]
    changes = confirmed(values, candidates(values), minimum_effect)
    return Series(workload, model, provider, fingerprint, stage, ordered, changes)


def candidates(values: Sequence[float]) -> list[int]:
    """Places where a series may have moved; too many rather than too few. Raises InvalidInput without `ruptures`."""
    if len(values) < 2 * LEAST_RUNS:
        return []
    try:
        import numpy
        import ruptures
    except ImportError:
        raise InvalidInput("change points need ruptures: pip install 'tokenmark[trend]'") from None
    logs = numpy.log(numpy.array(values))
    spread = max(_noise(logs.tolist()), LEAST_SPREAD)
    search = ruptures.Pelt(model="l2", min_size=LEAST_RUNS, jump=1).fit(logs)
    found = search.predict(pen=PENALTY * spread**2 * math.log(len(values)))
    return [int(at) for at in found[:-1]]


def _noise(values: Sequence[float]) -> float:
    """Standard deviation of one value, from the steps between neighbours, so that a change adds one large step and no more:
    median absolute step / (0.6745·√2)."""
    steps = [abs(b - a) for a, b in pairwise(values)]
    return statistics.median(steps) / (0.6745 * math.sqrt(2))
