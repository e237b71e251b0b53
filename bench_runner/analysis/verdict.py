"""The verdict: may these numbers be trusted? Rules over measured facts, each with its limit and what to do about it.

`invalid`: the instrument does not stand behind the numbers. `degraded`: usable with the reason in mind. A rule never
judges the target: a slow server gives a valid result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tokenmark_decisions.distribution import needed_for
from tokenmark_schemas.result import MeasuredStage, Reason, Verdict


@dataclass(frozen=True)
class Rule:
    """`value(stage)` is compared with the limits: above `degraded` or above `invalid` (None: it never invalidates). Remedy
    ends the message."""

    code: str
    what: str
    unit: str
    degraded: float
    invalid: float | None
    remedy: str
    value: Callable[[MeasuredStage], float | None]

    def state_of(self, value: float | None) -> tuple[str, float]:
        """`valid`, `degraded` or `invalid`, and the limit that made it so."""
        if value is None or value <= self.degraded:
            return "valid", self.degraded
        if self.invalid is not None and value > self.invalid:
            return "invalid", self.invalid
        return "degraded", self.degraded


def _share_of_time(stage: MeasuredStage, seconds: float | None) -> float | None:
    """Of a stage too short to tell, the share of one second."""
    return None if seconds is None else seconds / max(1.0, stage.window.duration_s + stage.window.drain_s)


def _cached_share(stage: MeasuredStage) -> float | None:
    """As the answers tell it, else as the engine's own counters do."""
    if stage.tokens.cached is not None and stage.tokens.prompt:
        return stage.tokens.cached / stage.tokens.prompt
    server = stage.server or {}
    queries, hits = server.get("prefix_cache_queries"), server.get("prefix_cache_hits")
    return hits / queries if queries and hits is not None else server.get("prefix_cache_hit_ratio")


def _floor_share(stage: MeasuredStage) -> float | None:
    """Half a millisecond matters when answers take five."""
    floor, ttft = stage.client.calibration, stage.metrics["ttft"]
    base = ttft.p50 if ttft.p50 is not None else ttft.mean
    return floor["ttft_error_p99_s"] / base if floor and base else None


def _blur(stage: MeasuredStage) -> float | None:
    """How far the bounds of TTFT lie apart, as a share of it; less than a millisecond is no blur. What a server sends at
    once shares stamps too and loses nothing by it: only how late the reader may have been makes bounds lie apart."""
    ttft = stage.metrics["ttft"]
    found = [
        (bounds[1] - bounds[0]) / value
        for value, bounds in ((ttft.p50, ttft.bounds_p50), (ttft.p99, ttft.bounds_p99))
        if value and bounds is not None and bounds[1] - bounds[0] > LEAST_BLUR_S
    ]
    return max(found, default=None)


def _lateness(stage: MeasuredStage) -> float | None:
    """Of requests; less than 2 % of the median TTFT is none."""
    late, ttft = stage.client.send_lag.tail, stage.metrics["ttft"].p50
    return None if late is None or late < LEAST_LATE * (ttft or 0.0) else late


def _gpu_idle(stage: MeasuredStage) -> float | None:
    """An open loop leaves them idle by its rate."""
    gpu = stage.resources.gpu if stage.resources else None
    return (
        None
        if gpu is None or gpu.utilization_avg is None or stage.load.concurrency is None
        else 1 - gpu.utilization_avg
    )


def _host(stage: MeasuredStage, name: str) -> float | None:
    host = stage.resources.host if stage.resources else None
    return getattr(host, name) if host is not None else None


def _swapped(stage: MeasuredStage) -> float | None:
    """MiB."""
    swapped = _host(stage, "swapped_bytes")
    return None if swapped is None else swapped / 2**20


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


LEAST_BLUR_S, LEAST_LATE = 0.001, 0.02
CORE = "give the client a core of its own, or lower the load per worker"

RULES: tuple[Rule, ...] = (
    Rule("read_lag", "bytes waited for the client (tail)", "s", 0.005, 0.050, CORE, lambda s: s.client.read_lag.tail),
    Rule("ttft_blur", "first tokens are known to arrive within an interval only, as a share of TTFT", "", 0.02, 0.25,
         f"TTFT lies within its bounds_p50 and bounds_p99; {CORE}", _blur),
    Rule("send_lag", "requests were taken up late (tail)", "s", 0.002, 0.050, CORE, _lateness),
    Rule("loop_lag", "share of the time that the client was away for more than 5 ms at a stretch", "", 0.002, 0.05,
         "look for a busy neighbour, CPU throttling or a paused machine", lambda s: _share_of_time(s, s.client.away_s)),
    Rule("run_delay", "share of the time that the client waited for a processor", "", 0.05, 0.30, CORE,
         lambda s: _share_of_time(s, s.client.run_delay_s)),
    Rule("gc_pause", "the client paused for garbage collection", "s", 0.001, 0.020,
         "report this: collection is switched off while load runs", lambda s: s.client.gc_pause_max_s),
    Rule("client_cpu", "the busiest worker used nearly all of its core while it sent", "cores", 0.85, 0.97,
         "lower the load per worker, or take more workers", lambda s: s.client.busiest_cores),
    Rule("coalesced", "chunks shared one arrival stamp that may be this late for the earlier ones (tail)", "s", 0.010, 0.100,
         "read chunk gaps with care; TTFT and end-to-end times stand",
         lambda s: s.client.coalesced.tail_s if s.client.coalesced.share > 0.01 else None),
    Rule("stamp_fallbacks", "reads without a usable kernel stamp, as a share", "", 0.01, 0.20,
         "those have the time of the read; let the clock be slewed, not stepped",
         lambda s: _share(s.client.stamp_fallbacks, s.client.reads) if s.client.stamp_fallbacks < s.client.reads else None),
    Rule("calibration_floor", "TTFT error p99 of this client against the simulator, as a share of TTFT", "", 0.10, None,
         "a target as fast as this needs a client with more processor", _floor_share),
    Rule("clock_steps", "times that the machine's clock was set while load ran", "", 0, 10,
         "let the clock be slewed, not stepped, while you measure", lambda s: s.client.clock_steps),
    Rule("start_skew", "from the first worker's beginning to the last one's", "s", 0.050, 1.0,
         "look for a pod whose machine is slower or farther away than the others'", lambda s: s.client.start_skew_s),
    Rule("clock_uncertainty", "how well the pods' clocks are known against each other", "s", 0.010, 0.100,
         "throughput over time is blurred by as much; put the runner pods nearer to each other",
         lambda s: s.client.clock_uncertainty_s),
    Rule("cache_hits", "prompt tokens that came from the prefix cache, as a share", "", 0.05, 0.50,
         "prompts should be unique: look for a shared template, or ask for a shared prefix on purpose", _cached_share),
    Rule("unstreamed", "answers that came in one piece though a stream was asked for, as a share", "", 0.01, 0.50,
         "their TTFT is their end-to-end time; check the engine and what stands before it, or set streaming: false",
         lambda s: _share(s.requests.unstreamed, s.requests.succeeded)),
    Rule("token_mismatch", "answers whose token count is below their number of chunks, as a share", "", 0.01, 0.20,
         "the server's usage counts something else; look at token_source",
         lambda s: _share(s.tokens.mismatches, s.requests.succeeded)),
    Rule("cancelled", "requests cut off at the end of the stage, as a share of those due", "", 0.01, 0.20,
         "latency leaves them out and is too good; lower the load, lengthen the stage, or name a requestCount in place of its duration: then all are waited for",
         lambda s: _share(s.requests.cancelled, s.requests.due)),
    Rule("errors", "requests that failed, as a share of those that ended", "", 0.01, 0.50,
         "see requests.errors; latency covers the successful ones only",
         lambda s: _share(s.requests.failed, s.requests.succeeded + s.requests.failed)),
    Rule("gpu_underused", "share of the time that the GPUs idled under a closed loop", "", 0.20, None,
         "the load does not fill them: the numbers are those of the load; raise it, or look at what the engine waits for", _gpu_idle),
    Rule("throttled", "times that a processor of the target's machine slowed down for heat", "", 0, None,
         "cool it, or lower the load: later stages are those of a slower machine", lambda s: _host(s, "throttles")),
    Rule("swapping", "MiB that went in or out of swap on the target's machine", "MiB", 1, None,
         "give it more memory, or a smaller model: what swaps is slow by the disk", _swapped),
    Rule("error_burst", "requests that failed one after the other", "", 5, None,
         "something was away for a while; the rest of the stage may have paid for it", lambda s: s.requests.failing_most),
)  # fmt: skip


BY_CODE = {rule.code: rule for rule in RULES}
CLIENT_RULES = {
    "read_lag",
    "ttft_blur",
    "send_lag",
    "loop_lag",
    "run_delay",
    "gc_pause",
    "client_cpu",
    "coalesced",
}  # the client's own
UNSTEADY = 1.25  # the warm-up's last answers, over the first stage's p90


def so_far(values: Mapping[str, float | None]) -> tuple[str, str]:
    """What the rules named would say of these values by now: state, and the worst reason in words."""
    worst, said = "valid", ""
    for code, value in values.items():
        state, limit = BY_CODE[code].state_of(value)
        if ORDER[state] > ORDER[worst]:
            worst, said = state, f"{code} {value:.3g} {BY_CODE[code].unit}".rstrip() + f", limit {limit:g}"
    return worst, said


ORDER = {"valid": 0, "degraded": 1, "invalid": 2}


def judge(
    stages: Sequence[MeasuredStage], *, warmup_requests: int, attempt: int, interrupted: bool, stamps: str,
    shares_prefix: bool = False, unsteady: float | None = None,
) -> Verdict:  # fmt: skip
    """All rules over all stages -> verdict with reasons, worst first. A prefix shared on purpose is meant to be cached;
    `unsteady` is what `warmup.unsteadiness` found."""
    found = [pair for stage in stages for pair in _stage_reasons(stage)]
    found = [pair for pair in found if not (shares_prefix and pair[1].code == "cache_hits")]
    found += _run_reasons(warmup_requests, attempt, interrupted, stamps, unsteady)
    found.sort(key=lambda pair: -ORDER[pair[0]])
    state = found[0][0] if found else "valid"
    return Verdict(state=state, reasons=[reason for _, reason in found])


def _stage_reasons(stage: MeasuredStage) -> Iterator[tuple[str, Reason]]:
    for rule in RULES:
        value = rule.value(stage)
        state, limit = rule.state_of(value)
        if value is None or state == "valid":
            continue
        said = f"stage {stage.name}: {rule.what}: {value:.4g} {rule.unit}".rstrip()
        yield (
            state,
            Reason(
                code=rule.code, stage=stage.name, value=round(value, 6), limit=limit,
                message=f"{said}, limit {limit:g}; {rule.remedy}",
            ),
        )  # fmt: skip
    yield from _sample_reasons(stage)


def _sample_reasons(stage: MeasuredStage) -> Iterator[tuple[str, Reason]]:
    count, needed = stage.requests.succeeded, needed_for(0.95)
    if count == 0:
        yield "invalid", Reason(code="no_samples", stage=stage.name, value=0, limit=1,
                                message=f"stage {stage.name}: no request succeeded; nothing was measured")  # fmt: skip
    elif count < needed:
        yield "degraded", Reason(
            code="few_samples", stage=stage.name, value=count, limit=needed,
            message=f"stage {stage.name}: {count} answers; p95 needs {needed}: run longer or with more repetitions",
        )  # fmt: skip


def _run_reasons(
    warmup: int, attempt: int, interrupted: bool, stamps: str, unsteady: float | None
) -> Iterator[tuple[str, Reason]]:
    if interrupted:
        yield "invalid", Reason(code="interrupted", message="the run was stopped before its plan was done")
    if warmup == 0:
        yield "degraded", Reason(code="no_warmup", message="there was no warm-up; first requests pay for cold caches")
    if unsteady is not None and unsteady > UNSTEADY:
        yield "degraded", Reason(code="unsteady_warmup", value=round(unsteady, 3), limit=UNSTEADY,
                                 message="the warm-up ended before the server was warm: its last answers took "
                                 f"{unsteady:.2f} times the first stage's p90; give it more requests or time")  # fmt: skip
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
