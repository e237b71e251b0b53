"""Throughput counts while the whole load is there, whatever the shape of a stage."""

from __future__ import annotations

import random
from array import array

import pytest

from bench_runner.analysis.throughput import steady_window, throughput_of
from bench_runner.load.clock import NS
from bench_runner.load.counters import Tick
from bench_runner.load.frames import End
from bench_runner.samples.aggregate import Collected
from bench_runner.samples.flow import BIN_NS, MOST_BINS, Bins
from bench_runner.samples.sample import Failure
from tests.support.builders import a_sample
from tokenmark_schemas.workload import Stage


def collected(answers: list[tuple[float, float]], length_s: float, lanes: int = 0) -> Collected:
    """Answers by (due, end) in seconds; ten tokens each, spread from a tenth of the answer on."""
    part, stop = Collected(lanes=lanes), round(length_s * NS)
    for seq, (due, end) in enumerate(answers):
        at, length = round(due * NS), round((end - due) * NS)
        stamps = array("q", [at + length // 10 * (k + 1) for k in range(10)])
        part.add(a_sample(seq=seq, due_ns=at, ready_ns=at, sent_ns=at, first_byte_ns=stamps[0], content_ns=stamps,
                          end_ns=stamps[-1], output_tokens=10))  # fmt: skip
    part.windows.append(End(0, stop, stop, Tick(at_ns=stop, issued=len(answers), load_ended=1)))
    return part


def open_loop(length_s: float) -> Stage:
    return Stage(name="r", request_rate="10", duration_seconds=round(length_s))


@pytest.mark.parametrize("length_s", [60.0, 120.0, 300.0])
@pytest.mark.parametrize("answer_s", [0.2, 2.0, 20.0])
def test_an_open_loop_that_is_served_reads_its_own_rate(length_s: float, answer_s: float) -> None:
    dues = [k / 10 for k in range(round(length_s * 10))]
    found = throughput_of(open_loop(length_s), [collected([(due, due + answer_s) for due in dues], length_s)])
    assert found.requests_per_s == pytest.approx(10, rel=0.02)
    assert found.output_tokens_per_s == pytest.approx(100, rel=0.02)


def test_answers_of_many_lengths_read_the_same_rate() -> None:
    rng = random.Random(1)
    answers = [(k / 10, k / 10 + rng.uniform(5, 25)) for k in range(1200)]
    found = throughput_of(open_loop(120), [collected(answers, 120.0)])
    assert found.requests_per_s == pytest.approx(10, rel=0.03)


def test_a_server_that_falls_behind_reads_what_it_serves() -> None:
    """Ten a second arrive, five are served: answer k ends at k/5 seconds."""
    found = throughput_of(open_loop(60), [collected([(k / 10, 0.2 + k / 5) for k in range(600)], 60.0)])
    assert found.requests_per_s == pytest.approx(5, rel=0.02)


def test_no_answer_in_time_is_no_throughput() -> None:
    assert (
        throughput_of(open_loop(10), [collected([(k / 10, 20.0 + k) for k in range(100)], 10.0)]).requests_per_s is None
    )


def test_a_closed_loop_waits_for_each_lanes_own_first_token() -> None:
    """Lane 0 answers in 1 s, lane 1 takes 5 s for its first token: ten first tokens of lane 0 do not stand for it."""
    answers = [(0.0, 1.0), (0.0, 50.0)] + [(float(k), k + 1.0) for k in range(1, 60)]
    window = steady_window(collected(answers, 60.0, lanes=2), Stage(name="c", concurrency=2, duration_seconds=60))
    assert window == (5 * NS, 60 * NS)


def test_bins_keep_their_sum_in_bounded_memory() -> None:
    bins, rng = Bins(), random.Random(2)
    stamps = sorted(rng.randrange(0, 10 * 3600 * NS) for _ in range(20_000))
    for at in range(0, len(stamps), 100):
        bins.add(stamps[at : at + 100], 2.0)
    assert bins.total == 40_000
    assert len(bins.packed()["sums"]) <= 8 * MOST_BINS
    assert bins.width_ns == 64 * BIN_NS
    hour = 3600 * NS // bins.width_ns * bins.width_ns
    assert bins.between(0, hour) == 2.0 * sum(stamp < hour for stamp in stamps)


@pytest.mark.parametrize("far", [1, 4000])
def test_bins_of_different_width_add_up(far: int) -> None:
    mine, other = Bins(), Bins()
    mine.add([NS, 2 * NS, 3 * NS], 1.0)
    other.add([NS // 2, far * NS], 1.0)
    mine.merge(other)
    assert mine.total == 5
    assert mine.between(0, 4 * NS // mine.width_ns * mine.width_ns) == 4 + (far < 4)


def test_a_lane_whose_first_request_failed_is_waited_for_all_the_same() -> None:
    part = collected([(0.0, 1.0), (0.0, 1.0)], 60.0, lanes=4)
    for seq, due in ((2, 0.0), (3, 0.0)):
        part.add(a_sample(seq=seq, due_ns=round(due * NS), failure=Failure("rate_limited", "429")))
    for seq, due in ((4, 9.0), (5, 9.5)):
        at = round(due * NS)
        part.add(
            a_sample(seq=seq, due_ns=at, sent_ns=at, content_ns=array("q", [at + NS, at + 2 * NS]), end_ns=at + 2 * NS)
        )
    window = steady_window(part, Stage(name="c", concurrency=4, duration_seconds=60))
    assert window is not None
    assert window[0] == round(10.5 * NS)
