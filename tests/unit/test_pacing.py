"""When requests are due: pacers, ramps, traces, slots, and the rules that end a phase."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.load.clock import NS
from bench_runner.load.pacers import PACERS, offsets_of, ramped
from bench_runner.load.phase import Limits, Phase
from bench_runner.load.route import Route
from bench_runner.load.schedule import FAR, Schedule

S = NS


def phase(**load: object) -> Phase:
    """A phase that nobody sends."""
    limits = Limits(S, S, S, S)
    return Phase(name="p", route=Route(()), render=lambda seq: b"%d" % seq, limits=limits, **load)  # type: ignore[arg-type]


def first(count: int, **load: object) -> list[int]:
    return list(itertools.islice(offsets_of(phase(**load)), count))


def test_a_constant_rate_does_not_drift() -> None:
    assert first(4, rate_per_s=3.0) == [0, 333_333_333, 666_666_667, 1_000_000_000]
    assert first(1_000_001, rate_per_s=1000.0)[-1] == 1000 * S


@pytest.mark.parametrize("arrival", list(PACERS))
def test_the_same_seed_gives_the_same_arrivals_and_another_one_others(arrival: str) -> None:
    mine = first(50, rate_per_s=10.0, arrival=arrival, burstiness=0.5, seed=1)
    assert mine == first(50, rate_per_s=10.0, arrival=arrival, burstiness=0.5, seed=1)
    if arrival != "Constant":
        assert mine != first(50, rate_per_s=10.0, arrival=arrival, burstiness=0.5, seed=2)


@pytest.mark.parametrize(
    ("load", "variation"),
    [
        pytest.param({"arrival": "Poisson"}, 1.0, id="poisson"),
        pytest.param({"arrival": "Gamma", "burstiness": 1.0}, 1.0, id="gamma of shape 1 is poisson"),
        pytest.param({"arrival": "Gamma", "burstiness": 0.25}, 2.0, id="bursts"),
        pytest.param({"arrival": "Gamma", "burstiness": 4.0}, 0.5, id="more even"),
    ],
)
def test_random_gaps_have_the_rates_mean_and_their_shapes_spread(load: dict[str, object], variation: float) -> None:
    offsets = first(40_001, rate_per_s=50.0, **load)
    gaps = [b - a for a, b in itertools.pairwise(offsets)]
    mean = statistics.fmean(gaps)
    assert mean == pytest.approx(S / 50, rel=0.03)
    assert statistics.pstdev(gaps) / mean == pytest.approx(variation, rel=0.05)


def test_a_ramp_sends_the_area_under_its_line() -> None:
    offsets = [at for at in first(700, rate_per_s=10.0, ramp_to_per_s=50.0, duration_ns=20 * S) if at < 20 * S]
    assert len(offsets) == 600
    half = sum(at < 10 * S for at in offsets)
    assert half == pytest.approx((10 + 30) / 2 * 10, abs=1)


def test_a_ramp_down_to_nothing_ends() -> None:
    offsets = first(10_000, rate_per_s=20.0, ramp_to_per_s=0.0, duration_ns=10 * S)
    assert len(offsets) == pytest.approx(100, abs=1)
    assert offsets == sorted(offsets)


@given(st.floats(0.1, 1e4), st.floats(-10, 100), st.floats(0, 1e4))
def test_a_ramps_time_solves_its_equation(rate: float, slope: float, n: float) -> None:
    at = ramped(n, rate, slope)
    if at >= 0:
        t = at / NS
        assert rate * t + slope * t * t / 2 == pytest.approx(
            n, rel=1e-6, abs=rate * 1e-8 + abs(slope) * t * 1e-8 + 1e-6
        )


# --- the schedule ---------------------------------------------------------------------------------------------------


def begun(start: int = 0, **load: object) -> Schedule:
    schedule = Schedule(phase(**load))
    schedule.begin(start)
    return schedule


def all_due(schedule: Schedule, now: int) -> list[int]:
    return list(iter(lambda: schedule.take(now), None))


def test_an_open_loop_omits_nothing_however_late_it_is_asked() -> None:
    """A worker that slept through the end of the stage still owes every request that was due in it."""
    schedule = begun(rate_per_s=10.0, duration_ns=2 * S)
    assert all_due(schedule, 60 * S) == [i * S // 10 for i in range(20)]
    assert schedule.ended


def test_an_open_loop_ends_with_its_time_not_with_its_last_request() -> None:
    schedule = begun(rate_per_s=1.0, duration_ns=10 * S)
    all_due(schedule, 9 * S)
    assert (schedule.issued, schedule.ended, schedule.next_due) == (10, False, 10 * S)
    assert schedule.take(10 * S) is None
    assert schedule.ended


def test_a_count_ends_any_loop_at_once() -> None:
    for load in ({"rate_per_s": 100.0}, {"concurrency": 8}):
        schedule = begun(**load, count=5)
        assert len(all_due(schedule, S)) == 5
        assert schedule.ended


def test_a_closed_loop_sends_when_a_slot_is_free_and_not_before() -> None:
    schedule = begun(concurrency=2, duration_ns=10 * S)
    assert len(all_due(schedule, S)) == 2
    assert schedule.next_due == 10 * S
    schedule.freed(3 * S)
    assert (schedule.next_due, schedule.take(2 * S), schedule.take(3 * S)) == (3 * S, None, 3 * S)
    schedule.freed(10 * S)
    assert schedule.take(11 * S) is None
    assert schedule.ended


def test_the_warm_up_ends_when_both_its_count_and_its_time_are_reached() -> None:
    schedule = begun(concurrency=1, minimum=3, minimum_ns=5 * S)
    now, sent = 0, 0
    while not schedule.ended and now < 60 * S:
        if schedule.take(now) is not None:
            sent += 1
            schedule.freed(now + S)
        now += S
    assert sent == 5
    quick = begun(concurrency=1, minimum=3, minimum_ns=0)
    all_due(quick, 0)
    for at in (1, 2, 3):
        quick.freed(at)
        all_due(quick, at)
    assert (quick.issued, quick.ended) == (3, True)


def test_a_trace_is_replayed_to_the_nanosecond_and_ends_with_its_last_line() -> None:
    offsets = sorted(random.Random(1).randrange(10 * S) for _ in range(100))
    schedule = begun(7, offsets=offsets)
    assert all_due(schedule, 20 * S) == [7 + at for at in offsets]
    assert (schedule.ended, schedule.next_due) == (True, FAR)


class Mute:
    """A dialogue that nobody reads."""


@given(
    think=st.integers(0, 400),
    turns=st.integers(1, 5),
    count=st.integers(1, 40),
    workers=st.integers(1, 3),
    closed=st.booleans(),
)
def test_turns_fit_between_arrivals_and_nothing_is_due_twice_or_after_the_end(
    think: int, turns: int, count: int, workers: int, closed: bool
) -> None:
    load = {"concurrency": 3} if closed else {"rate_per_s": 10.0}
    issued: list[int] = []
    for index in range(workers):
        planned = Schedule(phase(**load, count=count, duration_ns=2 * S, dialogue=Mute(), shard=(index, workers)))
        planned.begin(0)
        turn_of: dict[int, int] = {}
        now = 0
        while not planned.ended:
            now = max(now, planned.next_due)
            if now == FAR:
                break
            due = planned.take(now)
            if due is None:
                continue
            seq, before = planned.seq, planned.continues
            issued.append(seq)
            assert due < 2 * S
            turn_of[seq] = 0 if before is None else turn_of.pop(before) + 1
            if before is None and not closed:
                assert due * 10 % S == 0, "arrivals stay where they are"
            end = due + 100 * MILLI
            last = turn_of[seq] + 1 >= turns
            if last or not planned.follow(end + think * MILLI, seq):
                planned.fell_silent()
                planned.freed(end if last else end + think * MILLI)
        assert planned.next_due == FAR
    assert len(set(issued)) == len(issued) <= count


MILLI = 1_000_000


def test_an_order_to_stop_that_came_before_the_beginning_stands() -> None:
    schedule = Schedule(phase(concurrency=4, duration_ns=S))
    schedule.ended = True
    schedule.begin(0)
    assert schedule.ended
    assert schedule.take(S) is None
