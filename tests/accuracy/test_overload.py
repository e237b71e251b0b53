"""A client that is stopped, crowded out or paused never gives a `valid` verdict with wrong numbers.

The simulator has a core of its own and logs what it really sent; the client is disturbed in the middle of a stage.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_runner.load.clock import NS
from bench_runner.load.drive import Drive
from bench_runner.load.frames import End
from bench_runner.load.phase import Limits, Phase
from bench_runner.load.route import Address, Route
from tests.accuracy.curve import crowded, stopped
from tests.accuracy.test_route import Streams, serving
from tests.accuracy.test_truth import CLI, rows, simulator
from tests.rig.rig import cores, quantile

LOAD = ("--rate", "60", "--duration", "5", "--max-output-tokens", "20", "--warmup-requests", "0")


def disturbed(tmp_path: Path, disturb: Callable[[int], None], *load: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run that `disturb(client's pid)` troubles two seconds into its stage: (result, truth by request)."""
    with simulator(tmp_path, "--ttft-ms", "40", "--itl-ms", "5", "--jitter-ms", "1") as (url, truth):
        words = [*CLI, "run", "--target", url, "--model", "sim", "--out", str(tmp_path), "--name", "t", "--quiet",
                 "--format", "json", "--detail", "chunks", *(load or LOAD)]  # fmt: skip
        client = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]),
        )
        waited = time.monotonic() + 20
        while truth.exists() is False or truth.stat().st_size < 30_000:  # the stage has well begun
            assert time.monotonic() < waited
            time.sleep(0.02)
        trouble = threading.Thread(target=disturb, args=(client.pid,))
        trouble.start()
        out, err = client.communicate(timeout=60)
        trouble.join()
        assert out, err.decode()
    sent = {row["id"]: row for row in map(json.loads, truth.read_text().splitlines())}
    return json.loads(out), sent


def codes(result: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in result["verdict"]["reasons"]}


def true_ttft_s(tmp_path: Path, sent: dict[str, Any]) -> list[float]:
    """From the client's send to the server's, for every answer that counts."""
    return [(sent[r["id"]]["sent_ns"][0] - r["sent_ns"]) / 1e9 for r in rows(tmp_path) if not r["error"]]


@pytest.mark.parametrize(("seconds", "state"), [(0.3, "invalid"), (0.05, "degraded")])
def test_a_stopped_client_says_so_and_its_bounds_hold_the_truth(tmp_path: Path, seconds: float, state: str) -> None:
    result, sent = disturbed(tmp_path, stopped(seconds))
    order = ["valid", "degraded", "invalid"]
    assert order.index(result["verdict"]["state"]) >= order.index(state)
    assert "loop_lag" in codes(result)
    stage = result["stages"][0]
    assert stage["client"]["loop_lag_max_s"] > 0.6 * seconds
    truth, slack = true_ttft_s(tmp_path, sent), 0.004  # two sockets and a send lie between the two clocks' readings
    ttft = stage["metrics"]["ttft"]
    low, high = ttft["bounds_p50"] or (ttft["p50"], ttft["p50"])
    assert low - slack <= quantile(truth, 0.5) <= high + slack


def test_nothing_due_in_the_pause_was_left_out(tmp_path: Path) -> None:
    """60 a second for 5 s are 300 requests, paused or not, and the scheduled metrics know what the pause did."""
    result, _ = disturbed(tmp_path, stopped(0.3))
    stage = result["stages"][0]
    assert stage["requests"]["due"] == 300
    assert stage["metrics"]["send_lag"]["max"] > 0.2
    assert stage["metrics"]["ttft_scheduled"]["max"] > stage["metrics"]["ttft"]["max"] + 0.1


def test_a_busy_neighbour_on_the_same_core_is_seen(tmp_path: Path) -> None:
    if cores()[0] == cores()[1]:
        pytest.skip("one core: the simulator would be the neighbour")
    result, _ = disturbed(
        tmp_path,
        crowded(3, 4.0),
        "--concurrency",
        "32",
        "--duration",
        "5",
        "--max-output-tokens",
        "40",
        "--warmup-requests",
        "0",
    )
    assert result["verdict"]["state"] != "valid"
    assert codes(result) & {"read_lag", "ttft_blur", "run_delay", "send_lag", "loop_lag"}


def test_a_collection_that_pauses_the_client_is_measured() -> None:
    """The worker switches collection off; one that happens all the same shows in gc_pause and in loop_lag."""
    body = b'{"model":"m"}'
    request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def render(seq: int) -> bytes:
        if seq == 10:
            garbage: list[Any] = [[] for _ in range(600_000)]
            for item in garbage:
                item.append(item)
            del garbage, item
            gc.collect()
        return request

    with serving(Streams) as (port, _):
        limits = Limits(*[10 * NS] * 4)
        route = Route((Address(socket.AF_INET, ("127.0.0.1", port)),))
        events = list(Drive(Phase("p", route, render, limits, concurrency=1, count=30)).events())
    tick = next(event for event in events if isinstance(event, End)).tick
    assert tick.gc_pause_max_ns > 20_000_000
    assert tick.loop_lag_max_ns >= tick.gc_pause_max_ns
