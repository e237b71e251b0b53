"""What a comparison says of values that are known: its statuses, its plans, and what it will not compare."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from bench_runner.samples.metrics import BY_ID
from tests.support.comparable import a_comparable, a_repetition
from tokenmark_decisions.comparability import objections
from tokenmark_decisions.compared import COMPARED
from tokenmark_decisions.comparison import Gate, Rules, compare
from tokenmark_decisions.two_level import Difference, Side, holm
from tokenmark_schemas.comparison import Comparison, ComparisonLine
from tokenmark_schemas.result import Reason, RunResult, Verdict

P50, P99 = Gate("ttft", "p50"), Gate("ttft", "p99")


def a_run(
    name: str,
    *,
    factor: float = 1.0,
    sizes: int = 600,
    seed: int = 1,
    per_repetition: tuple[float, ...] = (1, 1, 1),
    **more: Any,
) -> RunResult:
    """TTFT uniform between 20 and 26 ms, times a factor; each repetition times its own as well."""
    rng = random.Random(f"{name}{seed}")
    reps = [
        a_repetition(k, {"ttft": [factor * own * rng.uniform(0.020, 0.026) for _ in range(sizes)]}, **more)
        for k, own in enumerate(per_repetition)
    ]
    return a_comparable(name, *reps)


def line(found: Comparison, metric: str = "ttft", statistic: str | None = "p50") -> ComparisonLine:
    return next(each for each in found.lines if (each.metric, each.statistic) == (metric, statistic))


def test_a_run_against_its_like_is_ok_with_an_interval_that_holds_nought() -> None:
    found = compare(a_run("old"), a_run("new"), Rules(gates=[P50]))
    p50 = line(found)
    assert (p50.status, found.result) == ("OK", "passed")
    assert p50.low is not None
    assert p50.high is not None
    assert p50.low < 0 < p50.high < 0.05


def test_ten_per_cent_slower_is_a_regression_and_ten_per_cent_faster_an_improvement() -> None:
    slower = compare(a_run("old"), a_run("new", factor=1.1), Rules(gates=[P50]))
    faster = compare(a_run("old"), a_run("new", factor=0.9), Rules(gates=[P50]))
    assert (line(slower).status, slower.result) == ("REGRESSED", "regressed")
    assert (line(faster).status, faster.result) == ("IMPROVED", "passed")
    assert line(slower).change == pytest.approx(0.1, abs=0.015)
    assert line(slower).delta == pytest.approx(0.0023, abs=0.0004)


def test_a_real_change_below_the_minimum_effect_is_ok_and_above_a_smaller_one_regressed() -> None:
    old, new = a_run("old"), a_run("new", factor=1.03)
    assert line(compare(old, new, Rules(gates=[P50]))).status == "OK"
    assert line(compare(old, new, Rules(gates=[Gate("ttft", "p50", None, 0.015)]))).status == "REGRESSED"
    assert line(compare(old, new, Rules(effects={"ttft:p50": 0.015}))).status == "REGRESSED"
    assert line(compare(old, new, Rules(effect=0.015))).status == "REGRESSED"


def test_repetitions_that_lie_far_apart_leave_it_open_and_a_plan_is_told() -> None:
    apart = (1.0, 1.15, 0.9)
    found = compare(
        a_run("old", per_repetition=apart), a_run("new", factor=1.08, per_repetition=apart), Rules(gates=[P50])
    )
    p50 = line(found)
    assert (p50.status, found.result) == ("INCONCLUSIVE", "inconclusive")
    assert p50.repetitions_needed is not None
    assert p50.repetitions_needed > 3
    assert p50.requests_factor is None, "more requests do not bring repetitions together"


def test_few_requests_leave_it_open_and_more_of_them_would_do() -> None:
    found = line(compare(a_run("old", sizes=12), a_run("new", sizes=12), Rules(effect=0.03)))
    assert found.status == "INCONCLUSIVE"
    assert found.requests_factor is not None
    assert found.requests_factor > 1


def test_one_slow_repetition_is_no_regression() -> None:
    found = compare(a_run("old"), a_run("new", per_repetition=(1, 1.3, 1)), Rules(gates=[P50]))
    assert line(found).status == "INCONCLUSIVE"


def test_a_repetition_that_lies_apart_is_named_and_stays_in_the_figures() -> None:
    found = compare(a_run("old", per_repetition=(1, 1, 1, 1, 1)), a_run("new", per_repetition=(1, 1, 1.3, 1, 1)))
    assert any(note.startswith("repetition 3 of new lies apart at c1: ttft p50 +") for note in found.notes)
    assert not any(" of old " in note for note in found.notes)


def test_a_drift_through_both_runs_is_told_from_a_change() -> None:
    found = compare(
        a_run("old", per_repetition=(1, 1.03, 1.06)),
        a_run("new", per_repetition=(1.09, 1.12, 1.15)),
        Rules(gates=[P50]),
    )
    assert line(found).status == "INCONCLUSIVE"
    assert "drift" in (line(found).reason or "")


def test_a_percentile_that_a_repetition_has_too_few_values_for_is_not_judged() -> None:
    old, new = a_run("old", sizes=300), a_run("new", sizes=300)
    found = compare(old, new, Rules(gates=[P99]))
    p99 = line(found, "ttft", "p99")
    assert (p99.status, p99.requests_factor, found.result) == ("INCONCLUSIVE", 1.7, "inconclusive")
    assert p99.reason == "p99 needs 500 values in each repetition; one has 300"


def test_a_success_rate_is_compared_in_points() -> None:
    found = line(compare(a_run("old"), a_run("new", failed=30), Rules()), "success_rate", None)
    assert found.change == pytest.approx(-30 / 630)
    assert found.status == "REGRESSED"
    assert line(compare(a_run("old"), a_run("new", failed=1), Rules()), "success_rate", None).status == "OK"


def test_hundreds_of_answers_without_a_failure_are_enough_for_a_point_and_dozens_are_not() -> None:
    for sizes, status in ((150, "OK"), (30, "INCONCLUSIVE")):
        found = line(compare(a_run("old", sizes=sizes), a_run("new", sizes=sizes), Rules()), "success_rate", None)
        assert (found.change, found.status) == (0.0, status), sizes


def test_more_tokens_a_second_are_better() -> None:
    found = line(compare(a_run("old", rate=100.0), a_run("new", rate=80.0), Rules()), "output_tokens_per_s", None)
    assert found.status == "REGRESSED"


def test_without_a_gate_nothing_is_judged() -> None:
    assert compare(a_run("old"), a_run("new", factor=1.5)).result == "not_judged"


def test_lines_of_the_runners_metrics_point_where_its_table_points() -> None:
    for row in COMPARED:
        if row.metric in BY_ID:
            assert (row.better, row.unit) == (BY_ID[row.metric].better, BY_ID[row.metric].unit), row.name


# --- what is not compared -------------------------------------------------------------------------------------------


def changed(run: RunResult, **fields: Any) -> RunResult:
    return run.model_copy(update={"provenance": run.provenance.model_copy(update=fields)})


def test_other_work_is_refused_with_the_fields_that_differ() -> None:
    old = changed(
        a_run("old"),
        fingerprint="1" * 64,
        fingerprint_fields={"model": "a", "stages": [{"name": "c1", "concurrency": 1}]},
    )
    new = changed(
        a_run("new"),
        fingerprint="2" * 64,
        fingerprint_fields={"model": "b", "stages": [{"name": "c1", "concurrency": 2}]},
    )
    assert objections(old, new, 3) == ["they are not the same work: model: a | b; stages.c1.concurrency: 1 | 2"]


def test_an_invalid_run_and_one_of_too_few_repetitions_are_refused() -> None:
    bad = a_run("old").model_copy(
        update={"verdict": Verdict(state="invalid", reasons=[Reason(code="send_lag", message="late", stage="c1")])}
    )
    few = a_run("new", per_repetition=(1, 1))
    assert objections(bad, few, 3) == [
        "old (baseline) is invalid: send_lag at c1; its own result says more",
        "new (current) has 2 repetitions, and it takes 3 to know their spread",
    ]
    assert objections(a_run("old"), a_run("new"), 3) == []


# --- the statistics by themselves -----------------------------------------------------------------------------------


def test_without_anything_from_the_requests_it_is_students_t() -> None:
    """Two sides of three: t with four degrees of freedom, whose 97.5 % point is 2.776."""
    found = Difference(Side([0.0, 1.0, 2.0], [0, 0, 0]), Side([10.0, 11.0, 12.0], [0, 0, 0]))
    half = 2.776 * math.sqrt(1.0 * 2 / 3)
    assert found.interval() == (pytest.approx(10 - half, rel=2e-3), pytest.approx(10 + half, rel=2e-3))


def test_of_one_repetition_a_side_it_is_what_the_requests_leave_open() -> None:
    found = Difference(Side([0.0], [0.3]), Side([1.0], [0.4]))
    assert found.interval() == (pytest.approx(1 - 1.96 * 0.5, rel=1e-3), pytest.approx(1 + 1.96 * 0.5, rel=1e-3))


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 3.0, 30.0])
def test_chance_alarms_no_more_often_than_told_whatever_the_spread(spread: float) -> None:
    rng = random.Random(7)

    def side() -> Side:
        return Side([rng.gauss(0, math.hypot(1, spread)) for _ in range(3)], [1.0] * 3)

    alarms = sum(Difference(side(), side()).below(0.0) <= 0.01 for _ in range(600))
    assert alarms <= 15, "1 % of 600 is 6; more than 15 has a chance of 1 in 2,000"


def test_holm_is_the_smallest_times_their_number_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
