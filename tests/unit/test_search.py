"""The planner of a capacity search, against servers whose capacity is known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.analysis.search import Search, stage_at, stage_name, start_of
from tokenmark_decisions.saturation import knee
from tokenmark_schemas.workload import Stage


def run(search: Search, capacity: int) -> Search:
    while (level := search.next_level()) is not None:
        search.note(level, level <= capacity)
    return search


@given(capacity=st.integers(1, 5000), start=st.integers(1, 200))
def test_the_capacity_lies_between_the_answer_and_its_bound(capacity: int, start: int) -> None:
    found = run(Search("MaxConcurrency", start, max_steps=32), capacity)
    assert found.passed is not None
    assert found.missed is not None
    assert found.passed <= capacity < found.missed
    assert found.missed - found.passed <= max(1, found.passed // 20)
    assert found.confirmed


def test_nothing_passes_and_everything_passes() -> None:
    none = run(Search("MaxConcurrency", 8, max_steps=12), 0)
    assert (none.passed, [level for level, _ in none.steps]) == (None, [8, 4, 2, 1])
    every = run(Search("MaxConcurrency", 1, max_steps=5), 10**6)
    assert (every.passed, every.missed, len(every.steps)) == (16, None, 5)


def test_steps_are_never_exceeded_and_an_answer_that_does_not_hold_is_stepped_down() -> None:
    search = Search("MaxConcurrency", 1, max_steps=32)
    confirmations = 0
    while (level := search.next_level()) is not None:
        again = any(level == tried for tried, _ in search.steps)
        confirmations += again
        search.note(level, level <= 20 and not (again and level == 20))  # 20 passes once and not twice
    assert search.passed == 19
    assert search.confirmed
    assert confirmations >= 2


@given(st.integers(0, 10_000))
def test_noise_ends_too(seed: int) -> None:
    rng, search = random.Random(seed), Search("MaxRate", 100, max_steps=20)
    while (level := search.next_level()) is not None:
        search.note(level, rng.random() < 0.5)
    assert len(search.steps) <= 20


def test_a_knee_is_where_throughput_stops_growing() -> None:
    curve = [(x, min(100.0 * x, 1600.0) + 5 * (-1) ** x) for x in (1, 2, 4, 8, 16, 24, 32, 48, 64)]
    assert knee(curve) == 16
    assert knee([(x, 100.0 * x) for x in (1, 2, 4, 8, 16, 32)]) is None
    assert knee([(1, 1), (2, 1)]) is None


@pytest.mark.parametrize(("find", "level", "name"), [("MaxConcurrency", 32, "c32"), ("MaxRate", 1250, "r12-5")])
def test_a_level_is_the_first_stage_at_another_load(find: str, level: int, name: str) -> None:
    template = Stage.model_validate({"name": "x", "requestRate": "1", "arrival": "Poisson", "durationSeconds": 60})
    stage = stage_at(find, template, level)  # type: ignore[arg-type]
    assert (stage.name, stage.duration_seconds) == (name, 60)
    assert stage_name(find, level) == name  # type: ignore[arg-type]
    assert stage.arrival == ("Poisson" if find == "MaxRate" else None)


@pytest.mark.parametrize(("find", "start"), [("MaxConcurrency", 100), ("MaxRate", 500_000)])
def test_a_search_stays_within_what_a_stage_can_ask_for(find: str, start: int) -> None:
    search = run(Search(find, start, max_steps=32), 10**12)  # type: ignore[arg-type]
    template = Stage.model_validate({"name": "x", "concurrency": 1, "durationSeconds": 60})
    names = {stage_at(find, template, level).name for level, _ in search.steps}  # type: ignore[arg-type]
    assert len(names) == len(search.steps), "no two levels share a name"


def test_the_smallest_rate_is_a_level_and_the_finest_one_keeps_its_hundredths() -> None:
    tiny = Stage.model_validate({"name": "x", "requestRate": "0.001", "durationSeconds": 60})
    assert start_of("MaxRate", tiny) == 1
    assert stage_at("MaxRate", tiny, 1_234_567).request_rate == "12345.67"
