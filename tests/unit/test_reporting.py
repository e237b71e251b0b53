"""What leaves a run: the table in 80 columns, the termination message in 4096 bytes, the metrics from status alone."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench_runner.reports.network import network_lines
from bench_runner.reports.table import render
from bench_runner.reports.units import seconds
from bench_runner.storage.pod_frames import TERMINATION_BYTES, termination_stage, termination_text
from tests.support.results import a_result, a_stage
from tokenmark_operator.results.config_map import headline
from tokenmark_schemas.network import Network, NetworkShare, NetworkTerm
from tokenmark_schemas.result import TerminationSummary


def drawn(width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(render(a_result()))
    return out.getvalue()


def test_the_table_fits_80_columns_and_says_everything() -> None:
    text = drawn(80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for word in ("TTFT", "TPOT", "E2E", "p50", "p99", "tok/s", "err", "verdict", "valid"):
        assert word in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0000123, "12.3 µs"), (0.00512, "5.12 ms"), (0.176, "176 ms"), (1.5, "1.50 s"), (93.0, "93.0 s")],
)
def test_times_are_given_in_the_unit_that_a_person_would_pick(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_a_termination_message_fits_whatever_the_run_was() -> None:
    stages = [termination_stage(a_stage().model_copy(update={"name": f"stage-{n}"})) for n in range(60)]
    text = termination_text(TerminationSummary(outcome="completed", exit_code=0, message="ä" * 5000, stages=stages))
    assert len(text.encode()) <= TERMINATION_BYTES
    read = TerminationSummary.model_validate_json(text)
    assert 0 < len(read.stages) < 60
    assert read.stages[0].stage == "stage-0"


def test_what_the_network_explains_is_said_with_its_arithmetic_within_80_columns() -> None:
    trip = NetworkTerm(name="round_trip", value_s=0.00513, low_s=0.005, high_s=0.0052, how="")
    size = NetworkTerm(name="request", value_s=0.00084, low_s=0.0, high_s=0.001, how="")
    ttft = NetworkShare(
        stage="c8", metric="ttft", mean_s=0.0312, network_s=0.00597, low_s=0.005, high_s=0.0062, ratio=0.191, ratio_low=0.16,
        ratio_high=0.1987, terms=[trip, size],
    )  # fmt: skip
    tpot = ttft.model_copy(
        update={"metric": "tpot", "network_s": 0.0, "ratio": 0.0, "ratio_low": 0.0, "ratio_high": 0.0004}
    )
    known = Network(
        probe="ew", path="PodToPod", source_node="node1", target_node="node2", verdict="valid", shares=[ttft, tpot]
    )
    lines = [line.plain for line in network_lines(known)]
    assert lines == [
        "network   node1 to node2 (PodToPod), ew",
        "  c8 TTFT  5.97 ms of a mean of 31.2 ms: 19 % (16 % to 20 %)",
        "    = round trip 5.13 ms + request 840 µs",
        "  c8 TPOT  0 of a mean of 31.2 ms: 0 % (0 % to < 0.1 %)",
        "    = round trip 5.13 ms + request 840 µs",
    ]
    assert max(map(len, lines)) <= 80
    (unknown,) = network_lines(Network(probe="ew", missing="ew measured no pair of a and b"))
    assert unknown.plain == "network   unknown  ew measured no pair of a and b"
    assert network_lines(None) == []


def test_the_headline_is_in_words_and_a_withheld_percentile_is_a_dash() -> None:
    few = a_stage(samples=20)
    assert headline(a_result(stages=[few])).ttft_p99 == "-"
    assert headline(a_result(stages=[])).ttft_p99 is None
