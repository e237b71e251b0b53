"""Each rule of the verdict fires above its limits, names its stage and says what to do; a slow server fires none."""

from __future__ import annotations

from typing import Any

import pytest

from bench_runner.analysis.verdict import RULES, judge
from tests.support.results import a_stage
from tokenmark_schemas.result import StageResult


def verdict(stage: StageResult, **changes: Any) -> tuple[str, list[str]]:
    facts = {"warmup_requests": 10, "attempt": 1, "interrupted": False, "stamps": "kernel", **changes}
    found = judge([stage], **facts)
    return found.state, [reason.code for reason in found.reasons]


def with_client(**changes: Any) -> StageResult:
    stage = a_stage()
    return stage.model_copy(update={"client": stage.client.model_copy(update=changes)})


def lag(stage: StageResult, seconds: float) -> Any:
    return stage.client.read_lag.model_copy(update={"tail": seconds})


def shared(first_tokens: int) -> StageResult:
    """That many first tokens came in a read with later ones, up to 20 ms after they may have arrived."""
    stage = with_client(coalesced=STAGE.client.coalesced.model_copy(update={"first_tokens": first_tokens}))
    ttft = stage.metrics["ttft"].model_copy(update={"bounds_p50": (0.080, 0.100)})
    return stage.model_copy(update={"metrics": {**stage.metrics, "ttft": ttft}})


STAGE = a_stage()
CASES: list[tuple[str, StageResult, str]] = [
    ("read_lag", with_client(read_lag=lag(STAGE, 0.002)), "degraded"),
    ("read_lag", with_client(read_lag=lag(STAGE, 0.011)), "invalid"),
    ("read_lag_share", with_client(read_lag=lag(STAGE, 0.009)), "degraded"),
    ("send_lag", with_client(send_lag=lag(STAGE, 0.003)), "degraded"),
    ("send_lag", with_client(send_lag=lag(STAGE, 0.060)), "invalid"),
    ("loop_lag", with_client(loop_lag_max_s=0.05), "degraded"),
    ("loop_lag", with_client(loop_lag_max_s=0.3), "invalid"),
    ("gc_pause", with_client(gc_pause_max_s=0.005), "degraded"),
    ("client_cpu", with_client(cores=0.9), "degraded"),
    ("client_cpu", with_client(cores=0.99), "invalid"),
    ("coalesced", with_client(coalesced=STAGE.client.coalesced.model_copy(update={"share": 0.5, "max_interval_s": 0.02})), "degraded"),
    ("run_delay", with_client(run_delay_s=3.0), "degraded"),
    ("run_delay", with_client(run_delay_s=12.0), "invalid"),
    ("calibration_floor", with_client(calibration={"ttft_error_p99_s": 0.02}), "degraded"),
    ("cache_hits", STAGE.model_copy(update={"tokens": STAGE.tokens.model_copy(update={"cached": 200})}), "degraded"),
    ("cache_hits", STAGE.model_copy(update={"server": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 90.0}}), "invalid"),
    ("clock_steps", with_client(clock_steps=1), "degraded"),
    ("start_skew", with_client(start_skew_s=0.2), "degraded"),
    ("start_skew", with_client(start_skew_s=1.5), "invalid"),
    ("clock_uncertainty", with_client(clock_uncertainty_s=0.02), "degraded"),
    ("first_token_shared", shared(10), "degraded"),
    ("first_token_shared", shared(150), "invalid"),
    ("errors", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"failed": 30})}), "degraded"),
    ("errors", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"failed": 250})}), "invalid"),
    ("cancelled", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"cancelled": 20})}), "degraded"),
    ("cancelled", STAGE.model_copy(update={"requests": STAGE.requests.model_copy(update={"cancelled": 90})}), "invalid"),
    ("token_mismatch", STAGE.model_copy(update={"tokens": STAGE.tokens.model_copy(update={"mismatches": 10})}), "degraded"),
    ("few_samples", a_stage(samples=20), "degraded"),
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


def test_what_concerns_the_whole_run_is_said() -> None:
    assert verdict(STAGE, warmup_requests=0) == ("degraded", ["no_warmup"])
    assert verdict(STAGE, attempt=2) == ("degraded", ["disrupted_attempt"])
    assert verdict(STAGE, stamps="user") == ("degraded", ["user_stamps"])
    assert verdict(STAGE, interrupted=True) == ("invalid", ["interrupted"])


def test_the_worst_reason_comes_first_and_says_where_what_and_what_to_do() -> None:
    stage = with_client(cores=0.99, loop_lag_max_s=0.05)
    reasons = judge([stage], warmup_requests=10, attempt=1, interrupted=False, stamps="kernel").reasons
    assert [reason.code for reason in reasons] == ["client_cpu", "loop_lag"]
    assert reasons[0].message == (
        "stage c1: the client used nearly all of its core: 0.99 cores, limit 0.97; lower the load per worker"
    )


def test_every_rule_has_limits_in_order_and_a_case_here() -> None:
    assert all(rule.degraded < rule.invalid for rule in RULES)
    assert {rule.code for rule in RULES} <= {case[0] for case in CASES}


def test_a_prefix_shared_on_purpose_may_be_cached() -> None:
    stage = STAGE.model_copy(update={"server": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 90.0}})
    assert verdict(stage, shares_prefix=True) == ("valid", [])
