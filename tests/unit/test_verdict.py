"""Each rule of the verdict fires above its limits, names its stage and says what to do; a slow server fires none."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from bench_runner.analysis.verdict import RULES, UNSTEADY, judge
from bench_runner.analysis.warmup import unsteadiness
from bench_runner.samples.aggregate import Collected
from tests.support.builders import MS, a_sample
from tests.support.results import a_stage
from tokenmark_schemas.result import GpuUse, HostUse, StageResources, StageResult


def verdict(stage: StageResult, **changes: Any) -> tuple[str, list[str]]:
    facts = {"warmup_requests": 10, "attempt": 1, "interrupted": False, "stamps": "kernel", **changes}
    found = judge([stage], **facts)
    return found.state, [reason.code for reason in found.reasons]


def with_client(**changes: Any) -> StageResult:
    stage = a_stage()
    return stage.model_copy(update={"client": stage.client.model_copy(update=changes)})


def lag(stage: StageResult, seconds: float) -> Any:
    return stage.client.read_lag.model_copy(update={"tail": seconds})


def blurred(by_s: float) -> StageResult:
    """First tokens of 100 ms came with later ones, and the reader may have been that late."""
    ttft = STAGE.metrics["ttft"].model_copy(update={"bounds_p50": (0.100 - by_s, 0.100)})
    return STAGE.model_copy(update={"metrics": {**STAGE.metrics, "ttft": ttft}})


def with_requests(**changes: Any) -> StageResult:
    return STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update=changes)})


def with_resources(**changes: Any) -> StageResult:
    return STAGE.model_copy(update={"resources": StageResources(**changes)})


STAGE = a_stage()
CASES: list[tuple[str, StageResult, str]] = [
    ("read_lag", with_client(read_lag=lag(STAGE, 0.006)), "degraded"),
    ("read_lag", with_client(read_lag=lag(STAGE, 0.060)), "invalid"),
    ("send_lag", with_client(send_lag=lag(STAGE, 0.003)), "degraded"),
    ("send_lag", with_client(send_lag=lag(STAGE, 0.060)), "invalid"),
    ("loop_lag", with_client(away_s=0.1), "degraded"),
    ("loop_lag", with_client(away_s=2.0), "invalid"),
    ("gc_pause", with_client(gc_pause_max_s=0.005), "degraded"),
    ("client_cpu", with_client(busiest_cores=0.9), "degraded"),
    ("client_cpu", with_client(busiest_cores=0.99), "invalid"),
    ("coalesced", with_client(coalesced=STAGE.client.coalesced.model_copy(update={"share": 0.5, "tail_s": 0.02})), "degraded"),
    ("run_delay", with_client(run_delay_s=3.0), "degraded"),
    ("run_delay", with_client(run_delay_s=12.0), "invalid"),
    ("calibration_floor", with_client(calibration={"ttft_error_p99_s": 0.02}), "degraded"),
    ("cache_hits", STAGE.model_copy(update={"tokens": STAGE.tokens.model_copy(update={"cached": 200})}), "degraded"),
    ("cache_hits", STAGE.model_copy(update={"server": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 90.0}}), "invalid"),
    ("clock_steps", with_client(clock_steps=1), "degraded"),
    ("start_skew", with_client(start_skew_s=0.2), "degraded"),
    ("start_skew", with_client(start_skew_s=1.5), "invalid"),
    ("clock_uncertainty", with_client(clock_uncertainty_s=0.02), "degraded"),
    ("ttft_blur", blurred(0.005), "degraded"),
    ("ttft_blur", blurred(0.030), "invalid"),
    ("stamp_fallbacks", with_client(stamp_fallbacks=24), "degraded"),
    ("stamp_fallbacks", with_client(stamp_fallbacks=600), "invalid"),
    ("unstreamed", with_requests(unstreamed=20), "degraded"),
    ("unstreamed", with_requests(unstreamed=200), "invalid"),
    ("error_burst", with_requests(failing_most=6), "degraded"),
    ("calibration_floor", with_client(calibration={"ttft_error_p99_s": 0.09}), "degraded"),
    ("errors", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"failed": 30})}), "degraded"),
    ("errors", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"failed": 250})}), "invalid"),
    ("cancelled", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"cancelled": 20})}), "degraded"),
    ("cancelled", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"cancelled": 90})}), "invalid"),
    ("token_mismatch", STAGE.model_copy(update={"tokens": STAGE.tokens.model_copy(update={"mismatches": 10})}), "degraded"),
    ("few_samples", a_stage(samples=20), "degraded"),
    ("gpu_underused", with_resources(gpu=GpuUse(source="nvml", utilization_avg=0.7, samples=9, interval_s=1.0)), "degraded"),
    ("throttled", with_resources(host=HostUse(source="proc", throttles=1, samples=9, interval_s=0.5)), "degraded"),
    ("swapping", with_resources(host=HostUse(source="proc", swapped_bytes=2**21, samples=9, interval_s=0.5)), "degraded"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "stage", "state"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_a_rule_fires_above_its_limit(code: str, stage: StageResult, state: str) -> None:
    found, codes = verdict(stage)
    assert code in codes
    assert found == state


def test_a_clean_stage_is_valid_however_slow_its_server() -> None:
    slow = STAGE.model_copy(
        update={"metrics": {k: v.model_copy(update={"p50": 60.0}) for k, v in STAGE.metrics.items()}}
    )
    assert verdict(STAGE) == ("valid", [])
    assert verdict(slow) == ("valid", [])


def test_what_an_idle_client_does_now_and_then_is_no_reason() -> None:
    """One absence counts against the run's length, and less than a millisecond is no blur."""
    ten_hours = STAGE.window.model_copy(update={"duration_s": 36_000.0})
    stage = with_client(away_s=0.201, loop_lag_max_s=0.201).model_copy(update={"window": ten_hours})
    assert verdict(stage) == ("valid", [])
    assert verdict(blurred(0.0009)) == ("valid", [])


def test_what_concerns_the_whole_run_is_said() -> None:
    assert verdict(STAGE, unsteady=1.2) == ("valid", [])
    assert verdict(STAGE, unsteady=1.3) == ("degraded", ["unsteady_warmup"])
    assert verdict(STAGE, warmup_requests=0) == ("degraded", ["no_warmup"])
    assert verdict(STAGE, attempt=2) == ("degraded", ["disrupted_attempt"])
    assert verdict(STAGE, stamps="user") == ("degraded", ["user_stamps"])
    assert verdict(STAGE, interrupted=True) == ("invalid", ["interrupted"])


def test_the_worst_reason_comes_first_and_says_where_what_and_what_to_do() -> None:
    stage = with_client(busiest_cores=0.99, away_s=0.2)
    reasons = judge([stage], warmup_requests=10, attempt=1, interrupted=False, stamps="kernel").reasons
    assert [reason.code for reason in reasons] == ["client_cpu", "loop_lag"]
    assert reasons[0].message == (
        "stage c1: the busiest worker used nearly all of its core while it sent: 0.99 cores, limit 0.97; lower the load per "
        "worker, or take more workers"
    )


def test_every_rule_has_limits_in_order_and_a_case_here() -> None:
    assert all(rule.invalid is None or rule.degraded < rule.invalid for rule in RULES)
    assert {rule.code for rule in RULES} <= {case[0] for case in CASES}


def test_a_prefix_shared_on_purpose_may_be_cached() -> None:
    stage = STAGE.model_copy(update={"server": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 90.0}})
    assert verdict(stage, shares_prefix=True) == ("valid", [])


def wave(lanes: int, waves: int, rng: random.Random) -> Collected:
    """A closed loop on a steady server that prefills one prompt after the other."""
    part = Collected(lanes=lanes)
    for seq in range(lanes * waves):
        queue = seq + 1 if seq < lanes else rng.randrange(1, max(2, lanes // 16))
        first = 50 * MS * queue
        part.add(a_sample(seq=seq, sent_ns=0, content_ns=array("q", [first, first + 10 * MS, first + 20 * MS])))
    return part


@pytest.mark.parametrize("lanes", [1, 16, 64])
def test_the_first_wave_of_a_closed_loop_is_no_cold_server(lanes: int) -> None:
    rng = random.Random(1)
    assert (unsteadiness(wave(lanes, 1, rng), wave(lanes, 16, rng)) or 0) <= UNSTEADY
    assert (unsteadiness(wave(lanes, 3, rng), wave(lanes, 16, rng)) or 0) <= UNSTEADY


def test_a_server_that_was_cold_to_the_end_of_the_warm_up_is_seen() -> None:
    warm = Collected()
    for seq in range(200):
        warm.add(a_sample(seq=seq, sent_ns=0, content_ns=array("q", [100 * MS, 110 * MS])))
    cold = Collected()
    for seq in range(10):
        cold.add(a_sample(seq=seq, sent_ns=0, content_ns=array("q", [400 * MS, 410 * MS])))
    assert (unsteadiness(cold, warm) or 0) > UNSTEADY
