"""A sweep that is killed goes on where it stood: no run that was done is measured again, none is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.support.serving import simulated

RECIPE: dict[str, Any] = {
    "schemaVersion": "recipe/v1", "name": "far", "vary": {"clients": [1, 2, 4, 8, 16], "models": ["sim"], "workloads": []},
    "each": {"requestCount": 16}, "repetitions": 3,
    "spec": {
        "target": {"engine": "vllm", "model": "sim", "endpoint": {"url": "http://x"}}, "warmup": {"requestCount": 1, "durationSeconds": 0},
        "workload": {"maxOutputTokens": 8, "dataset": {"synthetic": {"inputTokens": {"mean": 8}}}},
        "objectives": [{"metric": "ttft", "statistic": "p50", "maxMilliseconds": 60}],
    },
}  # fmt: skip


def words(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "bench_runner",
        "sweep",
        str(folder / "r.yaml"),
        "--out",
        str(folder),
        "--reports",
        str(folder / "reports"),
        "--quiet",
        *more,
    ]


def test_a_server_with_four_places_is_spent_at_four(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("ttft_ms: 20\nitl_ms: 2\nslots: 4\n")
    with simulated("--scenario", str(tmp_path / "s.yaml")) as url:
        recipe = {
            **RECIPE,
            "spec": {**RECIPE["spec"], "target": {**RECIPE["spec"]["target"], "endpoint": {"url": url}}},
        }
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
        done = subprocess.run(words(tmp_path), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (report,) = (tmp_path / "reports").glob("far-*/report.md")
        text = report.read_text()
        assert {path.name for path in (report.parent / "plots").iterdir()} >= {"throughput.svg", "ttft-by-load.png"}
        (summary,) = tmp_path.glob("far-*/summary.json")
        (said,) = json.loads(summary.read_text())
        assert said["saturation"]["unit"] == "streams"
        assert said["saturation"]["saturates_at"] in (4, 8)
        assert json.loads((summary.parent / "run.json").read_text())["asked"]["vary"]["clients"]
        assert "Throughput is spent at 4 streams" in text or "Throughput is spent at 8 streams" in text, text
        assert "ttft p50 breaks at" in text
        again = subprocess.run(words(tmp_path), capture_output=True, text=True, check=False)
        assert "1 done before" in again.stderr
        assert again.returncode == 0


def whole_results(folder: Path) -> dict[str, bytes]:
    """Of runs that came to their end: what is kept of a run under way says that it was interrupted."""
    return {
        path.parent.name: path.read_bytes()
        for path in folder.glob("far-*/*/result.json")
        if not json.loads(path.read_text())["run"]["interrupted"]
    }


def test_a_sweep_that_is_killed_loses_no_run_and_repeats_none(tmp_path: Path) -> None:
    with simulated("--ttft-ms", "10", "--itl-ms", "1") as url:
        base = {**RECIPE["spec"], "target": {**RECIPE["spec"]["target"], "endpoint": {"url": url}}}
        base.pop("workload")
        recipe = {
            **RECIPE,
            "spec": base,
            "vary": {"clients": [4], "workloads": ["smoke", "chat-standard", "decode-heavy"]},
            "each": {"requestCount": 12},
        }
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
        with subprocess.Popen(
            words(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            until = time.monotonic() + 120
            while not whole_results(tmp_path) and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGKILL)
        before = whole_results(tmp_path)
        assert before
        done = subprocess.run(words(tmp_path), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        after = {path.parent.name: path.read_bytes() for path in tmp_path.glob("far-*/*/result.json")}
        assert len([name for name in after if "." not in name]) == 3
        assert {name: after[name] for name in before} == before
