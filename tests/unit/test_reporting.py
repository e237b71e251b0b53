"""What leaves a run: the table in 80 columns, the termination message in 4096 bytes, the metrics from status alone."""

from __future__ import annotations

import io
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from bench_runner.reports.network import network_lines
from bench_runner.reports.table import render
from bench_runner.reports.units import seconds
from bench_runner.storage.pod_frames import TERMINATION_BYTES, termination_stage, termination_text
from tests.support.builders import a_run
from tests.support.results import a_result, a_stage
from tokenmark_operator.core.cache import Cache
from tokenmark_operator.core.counters import Counters
from tokenmark_operator.core.queue import WorkQueue
from tokenmark_operator.results.config_map import headline, summarise
from tokenmark_operator.telemetry.projection import Projection
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


def finished() -> dict[str, Any]:
    run = a_run(environment={"provider": "azure"})
    valid = {"type": "Valid", "status": "True", "reason": "Valid", "message": ""}
    succeeded = {"type": "Succeeded", "status": "True", "reason": "Completed", "message": ""}
    run["status"] = {
        "conditions": [valid, succeeded, {"type": "Finished", "status": "True", "reason": "Completed"}],
        "completionTime": "2030-01-01T00:01:00Z",
        "environment": {"provider": "azure", "region": "westeurope", "node_instance_type": "ND96"},
        "summary": [stage.camel() for stage in summarise(a_result())],
        "workloadName": "smoke",
    }
    return run


def exposed(*runs: dict[str, Any], newest: int = 200) -> str:
    class NoRequests:
        requests: dict[tuple[str, str], int] = {}

    memory = Cache()
    for run in runs:
        key = ("BenchmarkRun", run["metadata"]["namespace"], run["metadata"]["name"])
        memory.see(key, run, deleted=False)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Projection(memory, WorkQueue(), NoRequests(), Counters(), newest))
    return generate_latest(registry).decode()


def test_metrics_carry_the_numbers_of_the_status_in_base_units() -> None:
    text = exposed(finished())
    line = next(t for t in text.splitlines() if t.startswith("tokenmark_run_ttft_seconds") and 'quantile="0.5"' in t)
    assert 'provider="azure"' in line
    assert 'stage="c1"' in line
    assert float(line.rsplit(" ", 1)[1]) == pytest.approx(0.099999)
    assert 'instance_type="ND96"' in text
    assert "tokenmark_run_valid{" in text


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


def test_an_absent_figure_is_no_sample_rather_than_zero() -> None:
    run = finished()
    run["status"]["summary"][0]["ttftMicroseconds"].pop("p99", None)
    assert "tokenmark_run_ttft_seconds{" in exposed(run)
    assert not [t for t in exposed(run).splitlines() if "run_ttft_seconds{" in t and 'quantile="0.99"' in t]


def test_only_the_newest_runs_are_shown() -> None:
    runs = []
    for number in range(5):
        run = finished()
        made = {"name": f"r{number}", "uid": f"u{number}", "creationTimestamp": f"2030-01-01T00:0{number}:00Z"}
        run["metadata"] = {**run["metadata"], **made}
        runs.append(run)
    text = exposed(*runs, newest=2)
    shown = {n for n in range(5) if f'run="r{n}"' in text}
    assert shown == {3, 4}


def test_a_queue_of_newer_runs_hides_no_result() -> None:
    over = finished()
    waiting = []
    for number in range(5):
        run = a_run(f"w{number}")
        run["metadata"]["creationTimestamp"] = f"2031-01-01T00:0{number}:00Z"
        run["status"] = {"conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Queued"}]}
        waiting.append(run)
    text = exposed(over, *waiting, newest=1)
    assert "tokenmark_run_ttft_seconds{" in text
    assert 'tokenmark_runs{state="Queued"} 5.0' in text
    assert 'tokenmark_runs{state="Completed"} 1.0' in text


def test_what_the_network_explains_and_whether_the_result_is_kept_are_series() -> None:
    run = finished()
    run["status"]["summary"][0]["networkTtftPerMille"] = 190
    run["status"]["conditions"].append({"type": "ResultsStored", "status": "False", "reason": "QuotaExceeded"})
    lines = exposed(run).splitlines()
    share = next(line for line in lines if line.startswith("tokenmark_run_network_share_ratio{"))
    assert 'metric="ttft"' in share
    assert share.endswith(" 0.19")
    assert next(line for line in lines if line.startswith("tokenmark_run_results_stored{")).endswith(" 0.0")


def test_the_headline_is_in_words_and_a_withheld_percentile_is_a_dash() -> None:
    few = a_stage(samples=20)
    assert headline(a_result(stages=[few])).ttft_p99 == "-"
    assert headline(a_result(stages=[])).ttft_p99 is None
