"""Results to compare, from values that are given: each repetition's percentiles as the product works them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from bench_runner.analysis.stage_result import repetition_metric
from tests.support.results import a_result, a_stage
from tokenmark_schemas.result import Repetition, RunResult, StageResult


def a_repetition(index: int, values: Mapping[str, Sequence[float]], failed: int = 0, rate: float = 100.0) -> Repetition:
    count = len(next(iter(values.values())))
    return Repetition(
        index=index, order=index, output_tokens_per_s=rate * 10, requests_per_s=rate, succeeded=count, failed=failed,
        metrics={name: repetition_metric(sorted(found), errors=True) for name, found in values.items()},
    )  # fmt: skip


@cache
def _skeleton() -> StageResult:
    return a_stage()


def a_comparable(name: str, *repetitions: Repetition, stage: str = "c1") -> RunResult:
    """A valid run of one stage with these repetitions."""
    found = a_result(stages=[_skeleton().model_copy(update={"name": stage, "repetitions": list(repetitions)})])
    run = found.run.model_copy(update={"name": name, "repetitions": len(repetitions)})
    return found.model_copy(update={"run": run})
