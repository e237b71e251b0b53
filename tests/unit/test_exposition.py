"""What stands on /metrics: figures of the status in base units, absent ones left out, bounded however much there is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bench_runner.instrument.progress import Progress
from bench_runner.run.eta import Eta
from tests.support.builders import a_run
from tests.support.scrape import exposed, finished
from tokenmark_schemas.benchmarkrun import BenchmarkRunSpec
from tokenmark_schemas.documents import read_workload
from tokenmark_schemas.run import RunConfig, RunIdentity, resolve


def test_metrics_carry_the_numbers_of_the_status_in_base_units() -> None:
    text = exposed(finished())
    line = next(t for t in text.splitlines() if t.startswith("tokenmark_run_ttft_seconds") and 'quantile="0.5"' in t)
    assert 'provider="azure"' in line
    assert 'stage="c1"' in line
    assert float(line.rsplit(" ", 1)[1]) == pytest.approx(0.099999)
    assert 'instance_type="ND96"' in text
    assert "tokenmark_run_valid{" in text


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


def sample(text: str, name: str) -> str:
    """The one line of a metric."""
    (line,) = [line for line in text.splitlines() if line.startswith(name + "{")]
    return line


def running(name: str = "demo") -> dict[str, Any]:
    run = a_run(name)
    run["status"] = {"attempts": [{"number": 1, "jobName": f"{name}-a1", "podUID": f"pod-{name}", "state": "Running"}]}
    return run


def test_a_run_under_way_tells_its_load_and_a_finished_one_does_not() -> None:
    said = {"phase": "c8", "stage": "c8", "in_flight": 8, "done": 40, "failed": 2, "tokens_per_s": 812.5, "eta_s": 31.0}
    text = exposed(running(), progress={"pod-demo": said})
    assert sample(text, "tokenmark_run_live_in_flight").endswith(" 8.0")
    assert sample(text, "tokenmark_run_live_output_tokens_per_second").endswith(" 812.5")
    assert sample(text, "tokenmark_run_live_eta_seconds").endswith(" 31.0")
    assert 'stage="c8"' in sample(text, "tokenmark_run_live_in_flight")
    assert next(line for line in text.splitlines() if "live_requests{" in line and 'result="failed"' in line).endswith(
        " 2.0"
    )
    assert "live_in_flight{" not in exposed(finished(), progress={"pod-demo": said})


def test_a_log_that_says_nonsense_makes_no_sample() -> None:
    said = {"stage": 7, "in_flight": "many", "done": True, "failed": None, "tokens_per_s": [1]}
    assert "tokenmark_run_live_in_flight{" not in exposed(running(), progress={"pod-demo": said})


def test_time_in_the_queue_and_the_way_to_the_target_are_told() -> None:
    assert sample(exposed(finished()), "tokenmark_run_queued_seconds").endswith(" 30.0")
    outside = finished("out")
    outside["spec"]["target"] = {"model": "m", "endpoint": {"url": "https://api.example"}}
    assert 'vantage="north_south"' in sample(exposed(outside), "tokenmark_run_info")
    assert 'vantage="in_cluster"' in sample(exposed(finished()), "tokenmark_run_info")


def test_a_page_of_two_hundred_runs_is_small_and_quick() -> None:
    runs = [finished(f"run-{number:03}") for number in range(200)]
    for run in runs:
        (stage,) = run["status"]["summary"]
        run["status"]["summary"] = [{**stage, "stage": f"c{2**power}"} for power in range(3)]
    exposed(*runs)
    began = time.process_time()
    text = exposed(*runs)
    assert len(text) < 4_000_000, len(text)
    assert time.process_time() - began < 1.0


def config(*stages: dict[str, Any], **spec: Any) -> RunConfig:
    said = {"target": {"model": "m", "endpoint": {"url": "http://h"}}, "stages": list(stages), **spec}
    return resolve(
        BenchmarkRunSpec.model_validate(said), RunIdentity(name="t"), url="http://h", workload=read_workload("smoke")
    )


def test_what_is_left_counts_down_over_stages_in_any_order() -> None:
    eta = Eta(
        config(
            {"name": "a", "concurrency": 1, "durationSeconds": 10},
            {"name": "b", "concurrency": 2, "durationSeconds": 30},
            repetitions=2,
            cooldownSeconds=5,
        )
    )
    assert eta.left_s(Progress("warmup", "a", 1, 2)) is None
    said = [
        eta.left_s(Progress(name, name, repetition, 2, 4.0, float(length)))
        for name, repetition, length in [("a", 1, 10), ("b", 1, 30), ("b", 2, 30), ("a", 2, 10)]
    ]
    assert said == [6 + 85, 26 + 50, 26 + 15, 6.0]


def test_requests_to_count_have_no_end_that_is_known() -> None:
    eta = Eta(config({"name": "a", "concurrency": 1, "requestCount": 10}, repetitions=1))
    assert eta.left_s(Progress("a", "a", 1, 1, 4.0, count=10)) is None
