"""Results to compare, from values that are given: each repetition's percentiles as the product works them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from bench_runner.stats.summary import enough_for, percentile, standard_error
from tests.support.results import a_result, a_stage
from tokenmark_schemas.result import Repetition, RepetitionMetric, RunResult, StageResult

QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


def a_metric(values: Sequence[float]) -> RepetitionMetric:
    ordered, found = sorted(values), {}
    for name, q in QUANTILES:
        if enough_for(len(ordered), q):
            found |= {name: percentile(ordered, q), f"se_{name}": standard_error(ordered, q)}
    return RepetitionMetric(count=len(ordered), **found)


def a_repetition(index: int, values: Mapping[str, Sequence[float]], failed: int = 0, rate: float = 100.0) -> Repetition:
    count = len(next(iter(values.values())))
    return Repetition(
        index=index, order=index, output_tokens_per_s=rate * 10, requests_per_s=rate, succeeded=count, failed=failed,
        metrics={name: a_metric(found) for name, found in values.items()},
    )  # fmt: skip


@cache
def _skeleton() -> StageResult:
    return a_stage()


def a_comparable(name: str, *repetitions: Repetition, stage: str = "c1") -> RunResult:
    """A valid run of one stage with these repetitions."""
    found = a_result(stages=[_skeleton().model_copy(update={"name": stage, "repetitions": list(repetitions)})])
    run = found.run.model_copy(update={"name": name, "repetitions": len(repetitions)})
    return found.model_copy(update={"run": run})
