"""The simulator speaks every dialect that the engines table has, and what a scenario says happens.

The product talks to it over real sockets: both ends of every dialect are tested against each other, and the contract
suite holds the product's end to what real engines send.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench_runner.engines import ENGINES
from tests.accuracy.test_truth import CLI, rows, run, simulator
from tests.support.serving import simulated
from tokenmark_schemas.result import RunResult

ROUTES = [(engine, route.path) for engine, routes in ENGINES.items() for route in routes]
SHORT = ("--concurrency", "4", "--requests", "24", "--max-output-tokens", "12", "--warmup-requests", "0")


def truths(path: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}


@pytest.mark.parametrize(("engine", "path"), ROUTES, ids=[engine + path for engine, path in ROUTES])
def test_every_route_is_spoken_and_understood(tmp_path: Path, engine: str, path: str) -> None:
    with simulator(tmp_path, "--ttft-ms", "30", "--itl-ms", "4") as (url, truth):
        result = run(url + path, tmp_path, "--engine", engine, *SHORT)
        sent = truths(truth)
    stage = result["stages"][0]
    assert stage["requests"]["succeeded"] == 24
    assert stage["tokens"]["output"] == 24 * 12
    assert stage["tokens"]["output_source"] == "usage"
    assert stage["tokens"]["prompt"] > 24 * 10
    for row in rows(tmp_path):
        assert len(row["content_ns"]) == 12
        errors = [abs(seen - true) for seen, true in zip(row["content_ns"], sent[row["id"]]["sent_ns"], strict=True)]
        assert sorted(errors)[6] < 3_000_000  # medians: a shared machine may hold up any one chunk


@pytest.mark.parametrize("engine", ["openai", "openai-completions", "tgi", "ollama"])
def test_an_answer_in_one_piece(tmp_path: Path, engine: str) -> None:
    workload = tmp_path / "whole.yaml"
    workload.write_text(
        "schema_version: workload/v1\nname: whole\nquestion: How long does a whole answer take?\nstreaming: false\n"
        "dataset: {prompts: [one two three]}\nmax_output_tokens: 9\nstages: [{name: c, concurrency: 1, request_count: 1}]\n"
    )
    with simulator(tmp_path, "--ttft-ms", "30", "--itl-ms", "2") as (url, _):
        result = run(
            url, tmp_path, "--engine", engine, "--workload", str(workload), "--concurrency", "1", "--requests", "5"
        )
    stage = result["stages"][0]
    assert (stage["requests"]["succeeded"], stage["tokens"]["output"]) == (5, 45)
    assert stage["metrics"]["e2e"]["min"] >= 0.046


SCENARIO = """
ttft_ms: 20
itl_ms: 4
head_ms: 10
stall_share: 0.25
stall_at: 8
stall_ms: 120
garbage_share: 0.1
abort_share: 0.1
"""


def test_a_scenario_file_is_played(tmp_path: Path) -> None:
    """A quarter of the answers stalls at token 8, a tenth breaks off, a tenth holds garbage: the run meets them all."""
    (tmp_path / "s.yaml").write_text(SCENARIO)
    with simulator(tmp_path, "--scenario", str(tmp_path / "s.yaml")) as (url, truth):
        result = run(
            url,
            tmp_path,
            "--concurrency",
            "10",
            "--requests",
            "200",
            "--max-output-tokens",
            "16",
            "--warmup-requests",
            "0",
        )
        outcomes = [row["outcome"] for row in truths(truth).values() if "-warmup-" not in row["id"]]
    requests = result["stages"][0]["requests"]
    assert requests["errors"].get("truncated", 0) == outcomes.count("aborted") > 5
    assert requests["errors"].get("protocol", 0) == outcomes.count("garbage") > 5
    stalled = [r for r in rows(tmp_path) if not r["error"] and r["content_ns"][8] - r["content_ns"][7] > 100_000_000]
    assert 0.15 * requests["succeeded"] < len(stalled) < 0.35 * requests["succeeded"]
    assert all(r["first_byte_ns"] - r["sent_ns"] > 9_000_000 for r in rows(tmp_path))


def test_a_burst_of_errors_is_counted_and_the_rest_stands(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("error_burst_every_s: 2\nerror_burst_s: 0.5\nerror_status: 503\nitl_ms: 2\n")
    with simulator(tmp_path, "--scenario", str(tmp_path / "s.yaml")) as (url, _):
        result = run(
            url, tmp_path, "--rate", "50", "--duration", "4", "--max-output-tokens", "5", "--warmup-requests", "0"
        )
    requests = result["stages"][0]["requests"]
    assert requests["due"] == 200
    assert 30 < requests["errors"]["server_error"] < 75


@pytest.mark.parametrize(
    ("text", "words"),
    [("ttft: 5\n", "ttft: unknown field"), ("stall_share: 2\n", "stall_share"), ("[1", "not YAML")],
)
def test_a_wrong_scenario_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    done = subprocess.run([*CLI, "sim", "--scenario", str(tmp_path / "s.yaml")], capture_output=True, text=True, check=False, timeout=20)  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr


def test_chunks_of_several_tokens_give_true_inter_token_latencies(tmp_path: Path) -> None:
    """Four tokens a chunk, 16 ms apart: vLLM tells how many each holds, so the inter-token latency is 4 ms."""
    with simulator(tmp_path, "--itl-ms", "4", "--chunk-tokens", "4") as (url, _):
        result = run(url, tmp_path, "--engine", "vllm", *SHORT, "--max-output-tokens", "32")
    metrics = result["stages"][0]["metrics"]
    assert metrics["itl"]["p50"] == pytest.approx(0.004, abs=0.001)
    assert metrics["chunk_gap"]["p50"] == pytest.approx(0.016, abs=0.003)
    assert metrics["tpot"]["p50"] == pytest.approx(28 / 31 * 0.004, abs=0.001)


def test_a_trace_is_replayed_on_time(tmp_path: Path) -> None:
    """Forty recorded arrivals, twice as fast: due as recorded, sent within the client's own error of it."""
    rng = random.Random(3)
    times = sorted(rng.uniform(0, 4000) for _ in range(40))
    lines = [json.dumps({"timestamp": at, "input_length": 20, "output_length": 5}) for at in times]
    (tmp_path / "trace.jsonl").write_text("\n".join(lines))
    with simulator(tmp_path) as (url, _):
        result = run(
            url, tmp_path, "--trace", str(tmp_path / "trace.jsonl"), "--trace-speedup", "2", "--warmup-requests", "0"
        )
    assert result["stages"][0]["requests"]["succeeded"] == 40
    log = sorted(rows(tmp_path), key=lambda row: row["seq"])
    due = [row["due_ns"] - log[0]["due_ns"] for row in log]
    assert due == pytest.approx([(at - times[0]) * 1e6 / 2 for at in times], abs=1)
    late = sorted(row["sent_ns"] - row["due_ns"] for row in log)
    assert late[20] < 2_000_000


@pytest.mark.parametrize(
    ("flags", "low", "high"),
    [
        pytest.param(("--find", "max-concurrency", "--concurrency", "1", "--requests", "60"), 5, 7, id="streams"),
        pytest.param(
            ("--find", "max-rate", "--rate", "20", "--duration", "4"), 50, 100, id="rate", marks=pytest.mark.trial
        ),
    ],
)
def test_a_servers_capacity_is_found(tmp_path: Path, flags: tuple[str, ...], low: float, high: float) -> None:
    """Six slots of 65 ms: six streams wait for nobody, and 92 requests a second are all that can be served."""
    (tmp_path / "s.yaml").write_text("ttft_ms: 20\nitl_ms: 5\nslots: 6\n")
    with simulator(tmp_path, "--scenario", str(tmp_path / "s.yaml")) as (url, _):
        result = run(url, tmp_path, *flags, "--objective", "ttft_scheduled:p90<=29ms", "--max-output-tokens", "10",
                     "--warmup-requests", "0", "--max-steps", "14")  # fmt: skip
    search = result["search"]
    assert low <= search["answer"] <= high
    assert search["upper"] is None or search["upper"] > search["answer"]
    assert {step["stage"] for step in search["steps"]} == {stage["name"] for stage in result["stages"]}


def test_a_level_without_enough_answers_is_not_guessed_at(tmp_path: Path) -> None:
    with simulator(tmp_path) as (url, _):
        result = run(url, tmp_path, "--find", "max-concurrency", "--objective", "ttft:p99<=1s", "--concurrency", "1",
                     "--requests", "20", "--max-output-tokens", "2", "--warmup-requests", "0")  # fmt: skip
    assert len(result["stages"]) == 1
    assert result["search"]["answer"] is None
    assert "only 20 samples" in result["search"]["message"]


def test_a_repetition_in_a_slow_spell_is_measured_again_and_said(tmp_path: Path) -> None:
    """Eight repetitions of a second; for one and a half the simulator is three times as slow."""
    (tmp_path / "s.yaml").write_text("ttft_ms: 20\nitl_ms: 2\nslow_after_s: 4\nslow_s: 1.5\nslow_factor: 3\n")
    with simulated("--scenario", str(tmp_path / "s.yaml")) as url:
        words = ["run", "--target", url, "--model", "sim", "--concurrency", "4", "--duration", "1", "--repetitions", "8",
                 "--warmup-requests", "0", "--max-output-tokens", "8", "--rerun-outliers", "--name", "t", "--out", str(tmp_path)]  # fmt: skip
        done = subprocess.run([sys.executable, "-m", "bench_runner", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = RunResult.model_validate_json((tmp_path / "t" / "result.json").read_text())
    assert result.run.reruns, "no repetition fell into the slow spell"
    worst = max(result.run.reruns, key=lambda each: each.value / each.median)
    assert worst.value > 1.5 * worst.median
    assert worst.again is not None
    assert worst.again < 1.2 * worst.median
    stage = result.stages[0]
    assert len(stage.repetitions) == 8
    assert stage.repetitions[worst.repetition - 1].order >= 8
    assert "lay apart and was measured again" in done.stdout
