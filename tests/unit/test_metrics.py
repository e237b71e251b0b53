"""Every formula, computed by hand on a sample in round numbers."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from bench_runner.samples.metrics import BY_ID, METRICS
from tests.support.builders import MS, a_sample


@pytest.mark.parametrize(
    ("metric", "want"),
    [
        ("ttft", [0.099]),
        ("ttft_scheduled", [0.100]),
        ("ttfo", [0.099]),
        ("tpot", [0.010]),
        ("itl", [0.010] * 4),
        ("chunk_gap", [0.010] * 4),
        ("e2e", [0.139]),
        ("e2e_scheduled", [0.140]),
        ("stream_close", [0.010]),
        ("send_lag", [0.0005]),
        ("connect", [0.00025]),
        ("output_tokens_per_s", [5 / 0.139]),
        ("decode_tokens_per_s", [100.0]),
        ("prefill_tokens_per_s", [10 / 0.099]),
    ],
)
def test_a_metric_follows_its_formula(metric: str, want: list[float]) -> None:
    assert list(BY_ID[metric].values(a_sample())) == pytest.approx(want)


def test_every_metric_has_a_hand_computed_case() -> None:
    cases = {"ttft", "ttft_scheduled", "ttfo", "tpot", "itl", "chunk_gap", "e2e", "e2e_scheduled", "stream_close",
             "send_lag", "connect", "output_tokens_per_s", "decode_tokens_per_s", "prefill_tokens_per_s"}  # fmt: skip
    assert {metric.id for metric in METRICS} == cases


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        pytest.param({"output_tokens": 1}, "tpot", id="a single token has no tpot"),
        pytest.param({"output_tokens": None}, "tpot", id="an unknown count has no tpot"),
        pytest.param({"content_ns": array("q")}, "ttft", id="nothing arrived"),
        pytest.param({"sent_ns": None}, "e2e", id="never sent"),
        pytest.param({"connect_ns": None}, "connect", id="the connection was open"),
        pytest.param({"visible_ns": None}, "ttfo", id="only reasoning"),
        pytest.param({"prompt_tokens": None}, "prefill_tokens_per_s", id="prompt tokens unknown"),
        pytest.param({"output_tokens": 50}, "itl", id="several tokens a chunk and no word how many"),
    ],
)
def test_absent_is_not_zero(changes: dict[str, Any], metric: str) -> None:
    assert list(BY_ID[metric].values(a_sample(**changes))) == []


def test_itl_divides_a_gap_by_the_tokens_of_its_chunk() -> None:
    sample = a_sample(content_ns=array("q", [0, 30 * MS, 40 * MS]), chunk_tokens=array("q", [1, 3, 1]), output_tokens=5)
    assert list(BY_ID["itl"].values(sample)) == pytest.approx([0.010, 0.010, 0.010, 0.010])
