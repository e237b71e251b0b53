"""Several load processes: one schedule between them, one result."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.accuracy.curve import worker_of
from tests.accuracy.test_simulator import truths
from tests.accuracy.test_truth import CLI, rows, run, simulator


@pytest.mark.parametrize(
    ("load", "due"),
    [
        pytest.param(("--concurrency", "7", "--requests", "101"), 101, id="closed loop"),
        pytest.param(("--rate", "50", "--arrival", "poisson", "--requests", "90"), 90, id="open loop"),
        pytest.param(("--concurrency", "2", "--requests", "25"), 25, id="fewer slots than workers"),
    ],
)
def test_three_workers_share_one_schedule(tmp_path: Path, load: tuple[str, ...], due: int) -> None:
    with simulator(tmp_path, "--ttft-ms", "20", "--itl-ms", "2") as (url, truth):
        result = run(url, tmp_path, *load, "--workers", "3", "--max-output-tokens", "6", "--warmup-requests", "0")
        sent = truths(truth)
    stage = result["stages"][0]
    assert (stage["requests"]["due"], stage["requests"]["succeeded"]) == (due, due)
    assert stage["client"]["workers"] == min(3, int(load[1]))
    log = rows(tmp_path)
    assert sorted(row["seq"] for row in log) == list(range(due)), "every request once, by whichever worker"
    assert set(sent) == {row["id"] for row in log}


def test_the_arrivals_of_two_workers_are_those_of_one(tmp_path: Path) -> None:
    found = []
    for workers in ("1", "2"):
        with simulator(tmp_path, "--ttft-ms", "5", "--itl-ms", "1") as (url, _):
            run(url, tmp_path, "--rate", "40", "--arrival", "poisson", "--requests", "60", "--workers", workers,
                "--max-output-tokens", "2", "--warmup-requests", "0")  # fmt: skip
        log = sorted(rows(tmp_path), key=lambda row: row["seq"])
        found.append([row["due_ns"] - log[0]["due_ns"] for row in log])
    assert found[0] == found[1]


def test_a_worker_that_dies_fails_the_run_and_keeps_what_there_was(tmp_path: Path) -> None:
    with simulator(tmp_path) as (url, truth):
        words = [*CLI, "run", "--target", url, "--model", "sim", "--out", str(tmp_path), "--name", "t", "--quiet",
                 "--concurrency", "4", "--duration", "30", "--workers", "2", "--warmup-requests", "0",
                 "--max-output-tokens", "5"]  # fmt: skip
        client = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        began = time.monotonic()
        while not truth.exists() or truth.stat().st_size < 20_000:
            assert time.monotonic() - began < 20
            time.sleep(0.02)
        os.kill(worker_of(client.pid), signal.SIGKILL)
        _, err = client.communicate(timeout=20)
    assert time.monotonic() - began < 20, "the other worker was stopped too"
    assert client.returncode == 5
    assert "a load worker ended unexpectedly" in err
    assert Counter(bool(row["error"]) for row in rows(tmp_path))[False] > 5
