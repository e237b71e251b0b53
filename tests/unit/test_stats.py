"""Percentiles, and when they are withheld."""

from __future__ import annotations

import math
import random
import statistics
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.stats.bootstrap import bootstrap, quantile_of
from bench_runner.stats.clusters import KEPT, Clusters
from bench_runner.stats.summary import QUANTILES, enough_for, percentile, stat, with_intervals
from tokenmark_decisions.distribution import EXACT, Distribution, needed_for


def test_interpolates_between_closest_ranks() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert percentile([10.0], 0.99) == 10.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_agrees_with_the_standard_library(values: list[float]) -> None:
    ordered = sorted(values)
    quartiles = statistics.quantiles(ordered, n=4, method="inclusive")
    assert percentile(ordered, 0.25) == pytest.approx(quartiles[0], abs=1e-6)
    assert percentile(ordered, 0.75) == pytest.approx(quartiles[2], abs=1e-6)


@pytest.mark.parametrize(("q", "needed"), [(0.5, 10), (0.9, 50), (0.95, 100), (0.99, 500), (0.999, 5000)])
def test_a_percentile_needs_five_samples_above_it(q: float, needed: int) -> None:
    assert needed_for(q) == needed
    assert enough_for(needed, q)
    assert not enough_for(needed - 1, q)


def test_what_is_withheld_is_null_and_named() -> None:
    summary = stat(Distribution(float(i) for i in range(60)), "s")
    assert (summary.p50, summary.p90) == (29.5, pytest.approx(53.1))
    assert (summary.p95, summary.p99, summary.p999) == (None, None, None)
    assert summary.withheld == ["p95", "p99", "p999"]


def test_no_samples_have_no_numbers() -> None:
    summary = stat(Distribution(), "s")
    assert (summary.count, summary.mean, summary.min, summary.p50) == (0, None, None, None)


# --- values in bounded memory ---------------------------------------------------------------------------------------


def skewed(count: int, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(-4, 1) for _ in range(count)]


def test_beyond_the_limit_percentiles_keep_three_digits_and_moments_stay_exact() -> None:
    data = skewed(EXACT + 10_000)
    kept, ordered = Distribution(data), sorted(data)
    assert not kept.exact
    summary = stat(kept, "s")
    assert (summary.precision, summary.count) == ("three_digits", len(data))
    for name, q in QUANTILES.items():
        assert getattr(summary, name) == pytest.approx(percentile(ordered, q), rel=1e-3)
    assert (summary.min, summary.max) == (ordered[0], ordered[-1])
    assert summary.mean == pytest.approx(statistics.fmean(data), rel=1e-9)
    assert summary.stddev == pytest.approx(statistics.stdev(data), rel=1e-9)


def test_up_to_the_limit_everything_is_exact() -> None:
    data = skewed(1000)
    assert stat(Distribution(data), "s").p50 == percentile(sorted(data), 0.5)
    assert stat(Distribution(data), "s").precision == "exact"


@pytest.mark.parametrize("sizes", [(100, 200), (100, EXACT + 5), (EXACT + 5, 100), (EXACT + 5, EXACT + 7)])
def test_merged_values_are_the_pooled_ones(sizes: tuple[int, int]) -> None:
    parts = [skewed(size, seed) for seed, size in enumerate(sizes)]
    merged = Distribution(parts[0])
    merged.merge(Distribution(parts[1]))
    pooled = parts[0] + parts[1]
    assert merged.count == len(pooled)
    assert percentile(merged.ordered(), 0.99) == pytest.approx(percentile(sorted(pooled), 0.99), rel=1e-3)
    assert merged.mean == pytest.approx(statistics.fmean(pooled), rel=1e-9)
    assert merged.stddev == pytest.approx(statistics.stdev(pooled), rel=1e-6)
    assert merged.extremes == (min(pooled), max(pooled))


# --- intervals ------------------------------------------------------------------------------------------------------


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 runs of three repetitions whose medians truly are exp(-4): about 95 % of the intervals hold it."""
    truth, held = math.exp(-4), 0
    for run in range(200):
        parts = [sorted(skewed(150, run * 10 + k)) for k in range(3)]
        low, high = bootstrap(parts, 0.5, seed=run) or (0, 0)
        held += low <= truth <= high
    assert 178 <= held <= 200


def test_repetitions_that_disagree_widen_the_interval() -> None:
    alike = [sorted(skewed(300, k)) for k in range(3)]
    apart = [alike[0], [v * 1.5 for v in alike[1]], [v * 2 for v in alike[2]]]
    narrow, wide = bootstrap(alike, 0.5, 1), bootstrap(apart, 0.5, 1)
    assert narrow is not None
    assert wide is not None
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_one_repetition_gets_the_interval_of_its_requests() -> None:
    low, high = bootstrap([[float(i) for i in range(1000)]], 0.5, 1) or (0, 0)
    assert 460 < low < 485 < 515 < high < 540


@given(
    st.lists(st.lists(st.floats(0.001, 1e3), min_size=1, max_size=50), min_size=1, max_size=4), st.floats(0.01, 0.99)
)
def test_a_quantile_of_several_lists_is_that_of_their_union(parts: list[list[float]], q: float) -> None:
    ordered = [sorted(part) for part in parts]
    union = sorted(v for part in parts for v in part)
    found = quantile_of(ordered, q)
    below = sum(v <= found * (1 + 1e-9) for v in union)
    assert below >= q * len(union) - 1e-6
    assert sum(v < found * (1 - 2e-4) for v in union) <= q * len(union) + 1


def test_the_spread_is_the_range_of_the_repetitions_over_their_median() -> None:
    parts = [Distribution([1.0] * 20), Distribution([2.0] * 20), Distribution([3.0] * 20)]
    pooled = Distribution()
    for part in parts:
        pooled.merge(part)
    assert with_intervals(stat(pooled, "s"), parts, 1).spread_p50 == 1.0


def test_an_interval_around_nought_ends() -> None:
    """Stamps of one segment read twice may differ by nanoseconds, either way."""
    parts = [sorted([-1e-8] + [0.0] * 50 + [0.01] * 3), sorted([0.0] * 60 + [0.02])]
    low, high = bootstrap(parts, 0.5, 1) or (1, 1)
    assert abs(low) < 1e-8
    assert abs(high) < 1e-8


def _answers(rng: random.Random, answers: int, gaps: int, spread: float) -> list[list[float]]:
    """Gaps of answers that differ: each has its own speed."""
    speeds = [math.exp(rng.gauss(0, spread)) for _ in range(answers)]
    return [[0.01 * speed * rng.lognormvariate(0, 0.2) for _ in range(gaps)] for speed in speeds]


def _true_quantile(q: float, spread: float) -> float:
    """Of a gap: log-normal with both spreads together."""
    return 0.01 * math.exp(NormalDist().inv_cdf(q) * math.hypot(spread, 0.2))


@pytest.mark.parametrize(
    ("q", "name", "answers", "gaps", "spread"),
    [
        (0.5, "ci95_p50", 60, 200, 0.0),
        (0.5, "ci95_p50", 60, 200, 0.3),
        (0.5, "ci95_p50", 60, 50, 0.5),
        (0.99, "ci95_p99", 60, 200, 0.0),
        (0.99, "ci95_p99", 800, 10, 0.3),
    ],
)
def test_intervals_of_gaps_cover_what_they_say(q: float, name: str, answers: int, gaps: int, spread: float) -> None:
    """95 in 100 intervals hold the truth, whether answers differ or not: 400 trials, so that 93 to 97 is what to expect."""
    rng, held, trials = random.Random(7), 0, 400
    truth = _true_quantile(q, spread)
    for trial in range(trials):
        drawn, clusters = _answers(rng, answers, gaps, spread), Clusters()
        for answer in drawn:
            clusters.add(answer)
        pooled = Distribution(value for answer in drawn for value in answer)
        low, high = getattr(with_intervals(stat(pooled, "s"), [pooled], trial, clusters), name)
        held += low <= truth <= high
    assert 0.93 <= held / trials <= 0.97, held / trials


def test_gaps_of_too_few_answers_have_no_interval_of_their_p99() -> None:
    clusters, drawn = Clusters(), _answers(random.Random(1), 60, 200, 0.3)
    for answer in drawn:
        clusters.add(answer)
    pooled = Distribution(value for answer in drawn for value in answer)
    found = with_intervals(stat(pooled, "s"), [pooled], 1, clusters)
    assert found.p99 is not None
    assert found.ci95_p99 is None
    assert found.ci95_p50 is not None


def test_clusters_keep_whole_answers_in_bounded_memory() -> None:
    clusters, rng = Clusters(), random.Random(3)
    for answer in _answers(rng, 3000, 200, 0.3):
        clusters.add(answer)
    assert len(clusters.packed()["values"]) <= 4 * (KEPT + 200)
    effect = clusters.design_effect(0.01)
    assert effect is not None
    assert 60 < effect < 150
    again = Clusters.unpacked(clusters.packed())
    again.merge(Clusters())
    assert again.design_effect(0.01) == pytest.approx(effect)
