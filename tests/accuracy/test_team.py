"""Several pods that share one load: here as processes, each with a monotonic clock of its own, as on several machines."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bench_runner.config.flags import Flags
from bench_runner.config.manifest import load
from bench_runner.stats.summary import percentile
from tests.accuracy.test_simulator import truths
from tests.accuracy.test_truth import CLI, simulator
from tests.support.ports import free_port
from tokenmark_schemas.frames import FrameReader
from tokenmark_schemas.run import RunConfig, RunIdentity, Team
from tokenmark_schemas.stopping import StopRules

CLOCK_APART_S = 5000


def other_clock() -> list[str]:
    """What gives a process a monotonic clock of its own, where the system lets us."""
    words = ["unshare", "--time", "--fork", "--kill-child", "--monotonic", str(CLOCK_APART_S)]
    try:
        allowed = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return words if allowed else []


class Pods:
    """The pods of one run, each with its folder, its index and its termination message."""

    def __init__(self, tmp_path: Path, url: str, count: int, **flags: Any) -> None:
        stops = StopRules.model_validate(flags.pop("stops", {}))
        flags = {"model": "sim", "warmup_requests": 2, "max_output_tokens": 8, **flags}
        config = load(None, Flags(target=url, name="t", **flags))
        team = Team(pods=count, address=f"127.0.0.1:{free_port()}")
        self.config = config.model_copy(
            update={"team": team, "run": RunIdentity(name="t", uid="uid-1"), "stop_rules": stops}
        )
        self.folder = tmp_path
        (tmp_path / "config.json").write_text(json.dumps(self.config.snake()))
        self.running = [self.start(index) for index in range(count)]

    def start(self, index: int) -> subprocess.Popen[str]:
        out = self.folder / f"pod-{index}"
        out.mkdir()
        words = [*CLI, "run", str(self.folder / "config.json"), "--pod", "--out", str(out)]
        env = {**os.environ, "JOB_COMPLETION_INDEX": str(index), "TOKENMARK_TERMINATION_LOG": str(out / "termination")}
        prefix = other_clock() if index else []
        with (out / "log").open("w") as log:
            return subprocess.Popen([*prefix, *words], stdout=log, stderr=subprocess.PIPE, text=True, env=env)

    def until_phase(self, name: str) -> None:
        """Until the leader has told of load in that phase."""
        log, began = self.folder / "pod-0" / "log", time.monotonic()
        while f'"phase": "{name}"' not in log.read_text():
            assert time.monotonic() - began < 40
            time.sleep(0.05)

    def ended(self, timeout_s: float = 60) -> list[int]:
        codes, self.said = [], list[str]()
        for process in self.running:
            self.said.append(process.communicate(timeout=timeout_s)[1])
            codes.append(process.returncode)
        return codes

    def frames(self, index: int) -> FrameReader:
        reader = FrameReader()
        for line in (self.folder / f"pod-{index}" / "log").read_text().splitlines():
            reader.feed(line)
        return reader

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(gzip.decompress(self.frames(0).blocks["result"]))
        return found

    def rows(self) -> list[dict[str, Any]]:
        text = gzip.decompress(self.frames(0).blocks["requests"]).decode()
        return [json.loads(line) for line in text.splitlines()]

    def summary(self, index: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"pod-{index}" / "termination").read_text())
        return found


def test_the_merged_percentiles_are_those_of_the_pooled_samples(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "20", "--jitter-ms", "15", "--itl-ms", "2") as (url, truth):
        pods = Pods(tmp_path, url, 2, rate="80", arrival="poisson", duration=5, detail="chunks")
        assert pods.ended() == [0, 0], pods.said
        sent = truths(truth)
    stage, rows = pods.result()["stages"][0], pods.rows()
    assert (stage["client"]["pods"], stage["client"]["workers"]) == (2, 2)
    assert stage["requests"]["succeeded"] == len(rows) > 300
    assert sorted(row["seq"] for row in rows) == list(range(len(rows))), "one schedule, each arrival once"
    ttft = sorted((row["content_ns"][0] - row["sent_ns"]) / 1e9 for row in rows)
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        assert stage["metrics"]["ttft"][name] == pytest.approx(percentile(ttft, share), rel=1e-3)
    lags = [abs(row["content_ns"][0] - sent[row["id"]]["sent_ns"][0]) / 1e9 for row in rows]
    assert statistics.median(lags) < 0.005, "stamps of both pods are on the leader's clock, which is the simulator's"


def test_pods_begin_together_whatever_their_clocks_say(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "20", "--itl-ms", "2") as (url, _):
        pods = Pods(tmp_path, url, 3, concurrency="7", requests=101)
        assert pods.ended() == [0, 0, 0], pods.said
    result = pods.result()
    stage = result["stages"][0]
    assert stage["requests"]["due"] == len(pods.rows()) == 101
    assert stage["client"]["pods"] == 3
    assert stage["client"]["start_skew_s"] < 0.2
    assert 0 < stage["client"]["clock_uncertainty_s"] < 0.05
    assert result["phases"]["warmup"]["requests"] >= 2
    assert stage["window"]["duration_s"] < 20, "on one clock, however far apart the pods' own are"
    assert stage["throughput"]["requests_per_s_whole"] > 1
    assert pods.summary(1)["outcome"] == "completed"


def test_a_lost_pod_ends_the_run_and_its_earlier_stages_stand(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "10", "--itl-ms", "1") as (url, _):
        pods = Pods(tmp_path, url, 2, concurrency="2,4", requests=None, duration=3)
        pods.until_phase("c4")
        pods.running[1].send_signal(signal.SIGKILL)
        codes = pods.ended()
    assert codes[0] == 5
    result = pods.result()
    assert [stage["name"] for stage in result["stages"]] == ["c2"], "half of c4's load is no result"
    assert result["run"]["interrupted"] is True
    assert result["verdict"]["state"] == "invalid"
    assert pods.summary(0)["lost_pod"] == 1
    assert "runner pod 1 of 2 was lost" in pods.summary(0)["message"]


def test_a_follower_that_is_told_to_go_says_so(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "10", "--itl-ms", "1") as (url, _):
        pods = Pods(tmp_path, url, 2, concurrency="2", duration=30)
        pods.until_phase("c2")
        follower = pods.running[1]
        children = Path(f"/proc/{follower.pid}/task/{follower.pid}/children").read_text().split()
        os.kill(int(children[0]) if other_clock() else follower.pid, signal.SIGTERM)
        codes = pods.ended()
    assert codes[0] == 5
    assert pods.summary(0)["lost_pod"] == 1
    assert "SIGTERM" in pods.summary(0)["message"], pods.said
    assert pods.summary(1)["outcome"] == "interrupted"


def test_a_stage_that_ends_early_ends_for_all(tmp_path: Path) -> None:
    """A signal to the leader cancels what the others have in flight, and keeps it."""
    with simulator(tmp_path, "--ttft-ms", "10", "--itl-ms", "1") as (url, _):
        pods = Pods(tmp_path, url, 2, concurrency="4", duration=60)
        pods.until_phase("c4")
        pods.running[0].send_signal(signal.SIGTERM)
        codes = pods.ended(20)
    assert codes == [143, 0]
    stage = pods.result()["stages"][0]
    assert stage["client"]["pods"] == 2
    assert stage["requests"]["due"] == len(pods.rows())


def test_stop_rules_look_at_all_pods_on_one_clock(tmp_path: Path) -> None:
    """A server that is slow to begin and keeps up is not over-saturated, however far apart the pods' clocks are."""
    with simulator(tmp_path, "--ttft-ms", "2500", "--itl-ms", "5") as (url, _):
        pods = Pods(tmp_path, url, 2, rate="12", arrival="poisson", duration=14, stops={"overSaturation": "EndStage"})
        assert pods.ended()[1] == 0, pods.said
    stage = pods.result()["stages"][0]
    assert stage["window"]["ended_early"] is None
    assert stage["requests"]["succeeded"] == stage["requests"]["due"] > 120


def test_errors_of_another_pod_end_the_run_too(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "20", "--itl-ms", "2", "--error-share", "1") as (url, _):
        stops = {"maxErrorsPerMille": 100, "minRequests": 10}
        pods = Pods(tmp_path, url, 2, concurrency="2", duration=60, warmup_requests=0, stops=stops)
        began = time.monotonic()
        codes = pods.ended()
    assert time.monotonic() - began < 30
    assert codes[0] == 5
    assert "above stopRules.maxErrorsPerMille" in pods.summary(0)["message"]


def test_a_pod_that_never_comes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_runner.instrument.stop import Stop
    from bench_runner.team import leader as module
    from tokenmark_schemas.errors import RunFailed

    monkeypatch.setattr(module, "GATHER_S", 0.2)
    config = load(None, Flags(target="http://127.0.0.1:1", model="m"))

    class Bare:
        def __init__(self, config: RunConfig) -> None:
            self.config = config

    team = Team(pods=3, address=f"127.0.0.1:{free_port()}")
    with pytest.raises(RunFailed, match=r"1 of 3 runner pods came within 0\.2 s; missing: 1, 2"):
        module.Leader(Bare(config), team, Stop(), lambda here: None)  # type: ignore[arg-type]


def test_strangers_at_the_door_keep_nobody_waiting(tmp_path: Path) -> None:
    """Silence, garbage, a word of another run, and a message that claims to be huge."""
    with simulator(tmp_path, "--ttft-ms", "10", "--itl-ms", "1") as (url, _):
        pods = Pods(tmp_path, url, 2, concurrency="2", requests=30)
        port = int(pods.config.team.address.rpartition(":")[2])  # type: ignore[union-attr]
        strangers = []
        began = time.monotonic()
        while len(strangers) < 8 and time.monotonic() - began < 20:
            try:
                stranger = socket.create_connection(("127.0.0.1", port), timeout=1)
            except OSError:
                if "warmup" in (tmp_path / "pod-0" / "log").read_text():
                    break  # the door is closed by then
                time.sleep(0.002)
                continue
            strangers.append(stranger)
            words = [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x7f\xff\xff\xff", wire_hello("uid-2/1", 1)]
            stranger.sendall(words[len(strangers) % 4])
        codes = pods.ended()
        for stranger in strangers:
            stranger.close()
    assert strangers, "the door was open for a moment"
    assert codes == [0, 0], pods.said
    assert pods.result()["stages"][0]["client"]["pods"] == 2
    assert len(pods.rows()) == 30


def wire_hello(run: str, index: int) -> bytes:
    import msgspec

    from bench_runner.team import wire

    payload = msgspec.msgpack.encode(wire.Hello(run, index))
    return wire.PREFIX.pack(len(payload)) + payload
