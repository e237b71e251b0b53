"""The verdict: may these numbers be trusted? Rules over measured facts, each with its limit and what to do about it.

`invalid`: the instrument does not stand behind the numbers. `degraded`: usable with the reason in mind. A rule never
judges the target: a slow server gives a valid result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tokenmark_schemas.result import Reason, StageResult, Verdict

from ..stats.summary import needed_for


@dataclass(frozen=True)
class Rule:
    """`value(stage)` is compared with the limits: above `degraded` or above `invalid`. Remedy ends the message."""

    code: str
    what: str
    unit: str
    degraded: float
    invalid: float
    remedy: str
    value: Callable[[StageResult], float | None]


def _relative(stage: StageResult, lag_s: float | None) -> float | None:
    """A lag as a share of the median TTFT: half a millisecond matters when answers take five."""
    ttft = stage.metrics["ttft"]
    base = ttft.p50 if ttft.p50 is not None else ttft.mean
    return None if lag_s is None or not base else lag_s / base


def _share_of_time(stage: StageResult, seconds: float | None) -> float | None:
    length = stage.window.duration_s + stage.window.drain_s
    return None if seconds is None or length < 1 else seconds / length


def _cached_share(stage: StageResult) -> float | None:
    """As the answers tell it, else as the engine's own counters do."""
    if stage.tokens.cached is not None and stage.tokens.prompt:
        return stage.tokens.cached / stage.tokens.prompt
    server = stage.server or {}
    queries, hits = server.get("prefix_cache_queries"), server.get("prefix_cache_hits")
    return hits / queries if queries and hits is not None else server.get("prefix_cache_hit_ratio")


def _floor_share(stage: StageResult) -> float | None:
    floor = stage.client.calibration
    return _relative(stage, floor["ttft_error_p99_s"]) if floor else None


def _uncertain_share(stage: StageResult) -> float | None:
    """First tokens whose interval is wide enough to matter: a server that sends several tokens at once shares stamps
    too, and loses nothing by it."""
    ttft = stage.metrics["ttft"]
    for value, bounds in ((ttft.p50, ttft.bounds_p50), (ttft.p99, ttft.bounds_p99)):
        if value is not None and bounds is not None and bounds[1] - bounds[0] > max(0.001, 0.02 * value):
            return stage.client.coalesced.first_tokens / max(1, stage.requests.succeeded)
    return None


RULES: tuple[Rule, ...] = (
    Rule("read_lag", "bytes waited for the client (tail)", "s", 0.001, 0.010,
         "give the client a core of its own, or lower the load per worker", lambda s: s.client.read_lag.tail),
    Rule("read_lag_share", "bytes waited for the client, as a share of TTFT", "", 0.05, 0.25,
         "give the client a core of its own", lambda s: _relative(s, s.client.read_lag.tail)),
    Rule("send_lag", "requests left late (tail)", "s", 0.002, 0.050,
         "give the client a core of its own, or lower the load per worker", lambda s: s.client.send_lag.tail),
    Rule("loop_lag", "the client was away for this long at a stretch", "s", 0.020, 0.200,
         "look for a busy neighbour, CPU throttling or a paused machine", lambda s: s.client.loop_lag_max_s),
    Rule("run_delay", "share of the time that the client waited for a processor", "", 0.05, 0.30,
         "give the client a core of its own", lambda s: _share_of_time(s, s.client.run_delay_s)),
    Rule("gc_pause", "the client paused for garbage collection", "s", 0.001, 0.020,
         "report this: collection is switched off while load runs", lambda s: s.client.gc_pause_max_s),
    Rule("client_cpu", "the client used nearly all of its core", "cores", 0.85, 0.97,
         "lower the load per worker", lambda s: s.client.cores / s.client.workers if s.window.duration_s >= 1 else None),
    Rule("coalesced", "chunks that shared one arrival stamp, over this long an interval", "s", 0.010, 0.100,
         "read chunk gaps with care; TTFT and end-to-end times stand",
         lambda s: s.client.coalesced.max_interval_s if s.client.coalesced.share > 0.01 else None),
    Rule("first_token_shared", "first tokens that shared a stamp with later ones, as a share of answers", "", 0.01, 0.50,
         "TTFT lies within its bounds_p50 and bounds_p99; give the client a core of its own",
         lambda s: _uncertain_share(s)),
    Rule("calibration_floor", "TTFT error p99 of this client against the simulator, as a share of TTFT", "", 0.10, 0.50,
         "a target as fast as this needs a client with more processor", lambda s: _floor_share(s)),
    Rule("clock_steps", "times that the machine's clock was set while load ran", "", 0, 10,
         "let the clock be slewed, not stepped, while you measure", lambda s: s.client.clock_steps),
    Rule("start_skew", "from the first worker's beginning to the last one's", "s", 0.050, 1.0,
         "look for a pod whose machine is slower or farther away than the others'", lambda s: s.client.start_skew_s),
    Rule("clock_uncertainty", "how well the pods' clocks are known against each other", "s", 0.010, 0.100,
         "throughput over time is blurred by as much; put the runner pods nearer to each other",
         lambda s: s.client.clock_uncertainty_s),
    Rule("cache_hits", "prompt tokens that came from the prefix cache, as a share", "", 0.05, 0.50,
         "prompts should be unique: look for a shared template, or ask for a shared prefix on purpose", lambda s: _cached_share(s)),
    Rule("token_mismatch", "answers whose token count is below their number of chunks, as a share", "", 0.01, 0.20,
         "the server's usage counts something else; look at token_source",
         lambda s: s.tokens.mismatches / s.requests.succeeded if s.requests.succeeded else None),
    Rule("cancelled", "requests cut off at the end of the stage, as a share of those due", "", 0.01, 0.20,
         "latency leaves them out and is too good; lower the load, or raise the stage's length",
         lambda s: s.requests.cancelled / s.requests.due if s.requests.due else None),
    Rule("errors", "requests that failed, as a share of those that ended", "", 0.01, 0.50,
         "see requests.errors; latency covers the successful ones only",
         lambda s: s.requests.failed / max(1, s.requests.succeeded + s.requests.failed)),
)  # fmt: skip


BY_CODE = {rule.code: rule for rule in RULES}


def so_far(values: Mapping[str, float | None]) -> tuple[str, str]:
    """What the rules named would say of these values by now: state, and the worst reason in words."""
    worst, said = "valid", ""
    for code, value in values.items():
        rule = BY_CODE[code]
        if value is None or value <= rule.degraded:
            continue
        state = "invalid" if value > rule.invalid else "degraded"
        if worst == "valid" or state == "invalid" != worst:
            limit = rule.invalid if state == "invalid" else rule.degraded
            worst, said = state, f"{code} {value:.3g} {rule.unit}".rstrip() + f", limit {limit:g}"
    return worst, said


def judge(
    stages: list[StageResult], *, warmup_requests: int, attempt: int, interrupted: bool, stamps: str,
    shares_prefix: bool = False,
) -> Verdict:  # fmt: skip
    """All rules over all stages -> verdict with reasons, worst first. A prefix shared on purpose is meant to be cached."""
    found = [pair for stage in stages for pair in _stage_reasons(stage)]
    found = [pair for pair in found if not (shares_prefix and pair[1].code == "cache_hits")]
    found += _run_reasons(warmup_requests, attempt, interrupted, stamps)
    order = {"invalid": 0, "degraded": 1}
    found.sort(key=lambda pair: order[pair[0]])
    state = found[0][0] if found else "valid"
    return Verdict(state=state, reasons=[reason for _, reason in found])


def _stage_reasons(stage: StageResult) -> Iterator[tuple[str, Reason]]:
    for rule in RULES:
        value = rule.value(stage)
        if value is None or value <= rule.degraded:
            continue
        severity = "invalid" if value > rule.invalid else "degraded"
        limit = rule.invalid if severity == "invalid" else rule.degraded
        yield (
            severity,
            Reason(
                code=rule.code,
                stage=stage.name,
                value=round(value, 6),
                limit=limit,
                message=f"stage {stage.name}: {rule.what}: {value:.4g} {rule.unit}".rstrip()
                + f", limit {limit:g}; {rule.remedy}",
            ),
        )
    yield from _sample_reasons(stage)


def _sample_reasons(stage: StageResult) -> Iterator[tuple[str, Reason]]:
    count, needed = stage.requests.succeeded, needed_for(0.95)
    if count == 0:
        yield "invalid", Reason(code="no_samples", stage=stage.name, value=0, limit=1,
                                message=f"stage {stage.name}: no request succeeded; nothing was measured")  # fmt: skip
    elif count < needed:
        yield "degraded", Reason(
            code="few_samples", stage=stage.name, value=count, limit=needed,
            message=f"stage {stage.name}: {count} answers; p95 needs {needed}: run longer or with more repetitions",
        )  # fmt: skip


def _run_reasons(warmup: int, attempt: int, interrupted: bool, stamps: str) -> Iterator[tuple[str, Reason]]:
    if interrupted:
        yield "invalid", Reason(code="interrupted", message="the run was stopped before its plan was done")
    if warmup == 0:
        yield "degraded", Reason(code="no_warmup", message="there was no warm-up; first requests pay for cold caches")
    if attempt > 1:
        yield "degraded", Reason(code="disrupted_attempt", value=attempt, limit=1,
                                 message=f"this is attempt {attempt}: an earlier one loaded the target and was lost")  # fmt: skip
    if stamps == "user":
        yield (
            "degraded",
            Reason(
                code="user_stamps",
                message="no kernel arrival stamps on this system; read lag cannot be told from latency",
            ),
        )
