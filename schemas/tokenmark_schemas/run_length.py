"""How long a phase waits for its last answers, and how long a run can take: what deadlines are set from (pure)."""

from __future__ import annotations

from .benchmarkrun import Target
from .workload import Stage, Warmup, WorkloadSpec

DRAIN_LIMIT_S = 30
STAGE_OVERHEAD_S = 3
START_MARGIN_S = 120
SLOWEST = 2  # tokens a second


def plan_seconds(
    stages: list[Stage], warmup: Warmup, repetitions: int, cooldown_s: int, target: Target, workload: WorkloadSpec
) -> int:
    """How long the load can take, in seconds: an estimate for a deadline. On average a request is taken to last no longer than its first token may,
    and its answer at SLOWEST tokens a second."""
    longest_s = target.request_timeout_seconds
    answer_s = (workload.max_output_tokens or 0) // SLOWEST
    a_request_s = min(longest_s, max(60, target.first_token_timeout_seconds) + answer_s) + _think_s(workload)
    per_stage = sum(
        _stage_seconds(stage, a_request_s) + stage_drain_s(stage, longest_s) + STAGE_OVERHEAD_S + cooldown_s
        for stage in stages
    )
    warm = max(warmup.duration_seconds, a_request_s * warmup.request_count // _lanes(stages[0]))
    return warm + warmup_drain_s(warmup, longest_s) + repetitions * per_stage + START_MARGIN_S + _fill_s(workload)


def stage_drain_s(stage: Stage, request_timeout_s: int) -> int:
    """How long a stage waits for its last answers, in seconds.

    A stage by count waits for every request as long as any may take: the requests are what was asked for, and to cut
    the slowest off would make the target look faster than it is. A stage by time ends soon after its time.
    """
    by_time = stage.duration_seconds is not None or stage.trace is not None
    return DRAIN_LIMIT_S if by_time else max(DRAIN_LIMIT_S, request_timeout_s)


def warmup_drain_s(warmup: Warmup, request_timeout_s: int) -> int:
    """The same for the warm-up, which is by count as soon as it names one."""
    return max(DRAIN_LIMIT_S, request_timeout_s) if warmup.request_count else DRAIN_LIMIT_S


def _fill_s(workload: WorkloadSpec) -> int:
    """What filling and indexing a database may take, and working out what is nearest: an upper estimate."""
    records = workload.dataset.records
    if records is None:
        return 0
    return 60 + records.count // 500 + records.count * records.queries * records.dimensions // 300_000_000


def _think_s(workload: WorkloadSpec) -> int:
    """The longest pause between two turns, nearly."""
    think = workload.conversation.think_milliseconds if workload.conversation else None
    return -(-(think.max or think.mean + 3 * (think.stddev or 0)) // 1000) if think else 0


def _stage_seconds(stage: Stage, a_request_s: int) -> int:
    if stage.duration_seconds is not None:
        return stage.duration_seconds
    count = stage.request_count or 0
    if stage.trace is not None:
        return stage.trace.span_seconds
    return int(min(86_400, count / _lanes(stage) * a_request_s))


def _lanes(stage: Stage) -> int:
    """How many requests are under way at once, about."""
    return stage.concurrency or max(1, int(stage.rate_per_s or 1))
