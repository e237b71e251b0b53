"""Percentiles, and when they are withheld."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.stats import enough_for, interval, needed_for, percentile, stat


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
    summary = stat([float(i) for i in range(60)], "s")
    assert (summary.p50, summary.p90) == (29.5, pytest.approx(53.1))
    assert (summary.p95, summary.p99, summary.p999) == (None, None, None)
    assert summary.withheld == ["p95", "p99", "p999"]


def test_no_samples_have_no_numbers() -> None:
    summary = stat([], "s")
    assert (summary.count, summary.mean, summary.min, summary.p50) == (0, None, None, None)


def test_an_interval_holds_its_quantile() -> None:
    ordered = [float(i) for i in range(1000)]
    low, high = interval(ordered, 0.5) or (0, 0)
    assert low < percentile(ordered, 0.5) < high
    assert interval(ordered[:5], 0.99) is None
