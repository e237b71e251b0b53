"""A repetition that lies apart: measured again once, in its place, and said."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bench_runner.analysis.stage_result import stage_result
from bench_runner.run.level import Level, Take, rerun
from bench_runner.run.runner import _first_of
from bench_runner.samples.aggregate import Collected
from bench_runner.target.server_metrics import Growth
from tests.support.builders import MS
from tests.support.results import a_part
from tokenmark_decisions.repetitions import said
from tokenmark_schemas.benchmarkrun import BenchmarkRunSpec
from tokenmark_schemas.result import MeasuredStage
from tokenmark_schemas.workload import Stage

STAGE = Stage(name="c1", concurrency=1, request_count=40)


def a_take(order: int, first_ms: int) -> Take:
    return Take(a_part(40, first_ms * MS), order, Growth(), {}, {})


def judge(level: Level) -> MeasuredStage:
    parts: list[Collected] = level.parts
    return stage_result(STAGE, parts, max_output=5, objectives=[], order=[take.order for take in level.takes])


def a_level(*first_ms: int) -> Level:
    return Level(STAGE, [a_take(k, each) for k, each in enumerate(first_ms)])


def test_the_one_that_lies_apart_is_measured_again_and_its_value_is_kept_in_words() -> None:
    level = a_level(99, 100, 180, 101, 100)
    found = list(rerun(level, judge, lambda level: bool(level.takes.append(a_take(5, 102))) or True))
    assert [(each.repetition, each.metric) for each in found] == [(3, "ttft p50")]
    assert (found[0].value, found[0].median, found[0].again) == pytest.approx((0.180, 0.100, 0.102), abs=0.001)
    assert [take.order for take in level.takes] == [0, 1, 5, 3, 4]
    assert judge(level).metrics["ttft"].max == pytest.approx(0.102, abs=0.001)
    assert said(found[0]).startswith(
        "repetition 3 at c1 lay apart and was measured again: ttft p50 180 ms where the median was 100 ms"
    )


def test_one_that_lies_apart_again_stays_as_it_came_out() -> None:
    level = a_level(99, 100, 180, 101, 100)
    (found,) = rerun(level, judge, lambda level: bool(level.takes.append(a_take(5, 185))) or True)
    assert found.again == pytest.approx(0.185, abs=0.001)
    assert len(level.takes) == 5


def test_without_time_for_it_nothing_is_replaced() -> None:
    level = a_level(99, 100, 180, 101, 100)
    assert list(rerun(level, judge, lambda _: False)) == []
    assert judge(level).metrics["ttft"].max == pytest.approx(0.180, abs=0.001)


def test_repetitions_that_agree_are_left_alone() -> None:
    level = a_level(98, 100, 101, 99, 102)
    assert list(rerun(level, judge, lambda _: pytest.fail("nothing to measure"))) == []


@pytest.mark.parametrize(
    "more",
    [
        {"repetitions": 4},
        {
            "repetitions": 5,
            "search": {"find": "MaxRate"},
            "objectives": [{"metric": "ttft", "statistic": "p50", "maxMilliseconds": 1000}],
        },
    ],
)
def test_it_takes_five_repetitions_and_a_plan(more: dict[str, object]) -> None:
    target = {"engine": "openai", "model": "m", "endpoint": {"url": "http://x"}}
    with pytest.raises(ValidationError, match="rerunOutliers needs five repetitions or more, and no search"):
        BenchmarkRunSpec.model_validate({"target": target, "rerunOutliers": True, **more})
    assert BenchmarkRunSpec.model_validate({"target": target, "rerunOutliers": True, "repetitions": 5}).rerun_outliers


def test_one_that_was_cut_short_is_let_go() -> None:
    level = a_level(99, 100, 180, 101, 100)

    def cut_short(level: Level) -> bool:
        level.takes.append(a_take(5, 3))
        return False

    assert list(rerun(level, judge, cut_short)) == []
    assert [take.order for take in level.takes] == [0, 1, 2, 3, 4]


def test_requests_that_were_cut_off_are_said_to_be_where_nothing_else_was_said() -> None:
    silent, cut_off, failed = Collected(), Collected(), Collected()
    cut_off.outcomes.cancelled = 2
    failed.outcomes.messages["timeout"] = "no token arrived"
    assert _first_of([silent]) == "nothing came back"
    assert (
        _first_of([silent, cut_off])
        == "2 had no whole answer when the wait for the last ones was over, and were cut off"
    )
    assert _first_of([cut_off, failed]) == "no token arrived"
