"""A small healthy RunResult."""

from __future__ import annotations

from array import array

from bench_runner.analysis.stage_result import stage_result
from bench_runner.analysis.verdict import judge
from bench_runner.load.counters import Tick
from bench_runner.load.frames import End
from bench_runner.samples.aggregate import Collected
from tests.support.builders import MS, a_sample
from tokenmark_schemas.result import (
    EngineFacts,
    MeasuredStage,
    Phase,
    Phases,
    Provenance,
    RunFacts,
    RunResult,
    ToolFacts,
    WorkloadFacts,
)
from tokenmark_schemas.workload import Stage


def a_part(samples: int, first_ns: int = 100 * MS - 1000, **changes: object) -> Collected:
    """One repetition of `samples` equal answers, one after the other; `first_ns` from the send to the first token."""
    part = Collected()
    for i in range(samples):
        at = i * (first_ns + 1000 + 50 * MS)
        first = at + 1000 + first_ns
        part.add(
            a_sample(
                seq=i, due_ns=at, sent_ns=at + 1000, first_byte_ns=first - MS, end_ns=first + 50 * MS,
                content_ns=array("q", [first + k * 10 * MS for k in range(5)]), read_lags_s=[30e-6] * 6, reads=6,
                **changes,
            )
        )  # fmt: skip
    stop = samples * (first_ns + 1000 + 50 * MS)
    tick = Tick(stop, 0, samples, samples, cpu_ns=stop // 10, loop_lag_max_ns=100_000, kernel_stamps=samples * 6)
    part.windows.append(End(0, stop, stop, tick))
    return part


def a_stage(samples: int = 200, **changes: object) -> MeasuredStage:
    """One repetition of such answers."""
    stage = Stage(name="c1", concurrency=1, request_count=samples)
    return stage_result(stage, [a_part(samples, **changes)], max_output=5, objectives=[], order=[0])


def a_result(uid: str = "uid-demo", stages: list[MeasuredStage] | None = None) -> RunResult:
    stages = stages if stages is not None else [a_stage()]
    return RunResult(
        run=RunFacts(
            name="demo", namespace="bench", uid=uid, attempt=1, repetitions=1,
            started_at="2030-01-01T00:00:00Z", ended_at="2030-01-01T00:01:00Z",
        ),
        verdict=judge(stages, warmup_requests=10, attempt=1, interrupted=False, stamps="kernel"),
        phases=Phases(warmup=Phase(requests=10, failed=0, duration_s=1.0), measured=Phase(requests=200, failed=0, duration_s=30.0)),
        stages=stages,
        provenance=Provenance(
            vantage="in_cluster", tool=ToolFacts(name="tokenmark", version="0", python="3", kernel="6"),
            engine=EngineFacts(name="openai"), environment={}, workload=WorkloadFacts(name="smoke", version=1, hash="0" * 64),
            spec_hash="0" * 64, fingerprint="0" * 64, seed=1, stamps="kernel",
        ),
    )  # fmt: skip
