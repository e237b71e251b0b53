"""Where a series moved: found where it did, and not where it only wandered, as often as is claimed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bench_runner import cli
from bench_runner.index.trend import candidates, metric_of, series_of
from tests.support.results import a_result
from tokenmark_decisions.changes import confirmed
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult


def a_series(rng: random.Random, levels: list[tuple[int, float]], spread: float = 0.01) -> list[float]:
    return [level * rng.lognormvariate(0, spread) for count, level in levels for _ in range(count)]


def places(values: list[float], effect: float = 0.05) -> list[int]:
    return [change.at for change in confirmed(values, candidates(values), effect)]


def test_a_level_that_never_moved_has_a_change_in_one_series_of_a_hundred() -> None:
    """Changes of any size count. docs/gate.md has more trials, longer series and the default effect."""
    rng, trials = random.Random(1), 300
    wrong = sum(bool(places(a_series(rng, [((4, 8, 15)[k % 3], 1.0)], 0.03), effect=0.0)) for k in range(trials))
    assert wrong / trials <= 0.02


@pytest.mark.parametrize("after", [1.10, 0.90, 1.06])
def test_a_level_that_moved_is_found_where_it_moved(after: float) -> None:
    rng, trials = random.Random(2), 60
    found = [places(a_series(rng, [(10, 1.0), (10, after)])) for _ in range(trials)]
    assert sum(places_ == [10] for places_ in found) / trials >= 0.95


def test_two_changes_are_two_and_each_has_the_levels_on_either_side() -> None:
    values = a_series(random.Random(3), [(10, 1.0), (10, 1.2), (10, 0.9)])
    up, down = confirmed(values, candidates(values), 0.05)
    assert (up.at, down.at) == (10, 20)
    assert (up.before, up.after, down.after) == pytest.approx((1.0, 1.2, 0.9), rel=0.01)
    assert up.low < up.change < up.high
    assert up.change == pytest.approx(0.2, abs=0.02)


def test_one_run_that_is_off_is_no_change() -> None:
    values = a_series(random.Random(4), [(20, 1.0)])
    values[10] = 2.0
    values[19] = 2.0
    assert places(values) == []


def test_three_runs_tell_nothing_and_a_constant_has_no_change() -> None:
    assert places([1.0, 2.0, 2.0]) == []
    assert places([1.0] * 30) == []


def a_run(day: int, p50: float, **more: str) -> RunResult:
    found = a_result()
    stage = found.stages[0]
    ttft = stage.metrics["ttft"].model_copy(update={"p50": p50})
    run = found.run.model_copy(update={"name": f"d{day}", "started_at": f"2030-01-{day:02}T00:00:00Z"})
    provenance = found.provenance.model_copy(update={"environment": {"provider": "alpha"} | more})
    return found.model_copy(
        update={
            "run": run,
            "provenance": provenance,
            "stages": [stage.model_copy(update={"metrics": stage.metrics | {"ttft": ttft}})],
        }
    )


def test_series_are_of_one_provider_in_order_of_time_and_of_runs_that_stand() -> None:
    runs = [(f"d{day}", a_run(day, 0.1)) for day in (3, 1, 2)]
    runs += [("b", a_run(4, 0.2, provider="beta"))]
    bad = a_run(5, 9.0)
    runs += [("bad", bad.model_copy(update={"verdict": bad.verdict.model_copy(update={"state": "invalid"})}))]
    alpha, beta = series_of(runs, "ttft:p50", 0.05)
    assert [point.source for point in alpha.points] == ["d1", "d2", "d3"]
    assert [point.source for point in beta.points] == ["b"]


def test_the_verb_marks_where_it_moved_in_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(5)
    for day, value in enumerate(a_series(rng, [(8, 0.100), (8, 0.130)]), start=1):
        folder = tmp_path / f"nightly-{day:02}"
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(a_run(day, value).snake()))
    with pytest.raises(SystemExit) as ended:
        cli.main(["runs", "--in", str(tmp_path), "trend"])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    mark = next(k for k, line in enumerate(lines) if "──" in line)
    assert "+30" in lines[mark] or "+29" in lines[mark] or "+31" in lines[mark]
    assert "2030-01-08" in lines[mark - 1]
    assert "2030-01-09" in lines[mark + 1]
    assert max(map(len, lines)) <= 80


def test_a_metric_that_is_none_is_said() -> None:
    with pytest.raises(InvalidInput, match="--metric ttft: write METRIC:STATISTIC such as ttft:p50"):
        metric_of("ttft")
    assert metric_of("output_tokens_per_s") == ("output_tokens_per_s", "")
