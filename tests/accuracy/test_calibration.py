"""The floor that a run can carry, and `tokenmark calibrate`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.accuracy.test_truth import CLI, simulator

MANIFEST = """
apiVersion: tokenmark.dev/v1alpha1
kind: BenchmarkRun
metadata: {name: t}
spec:
  target: {model: sim, endpoint: {url: 'URL'}}
  calibration: Always
  repetitions: 1
  warmup: {requestCount: 0, durationSeconds: 0}
  stages:
  - {name: c4, concurrency: 4, requestCount: 20}
  - {name: r4, requestRate: '4', requestCount: 8}
  - {name: c9, concurrency: 9, requestCount: 20}
"""


def test_a_run_carries_the_floor_of_each_of_its_levels(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "40", "--itl-ms", "5") as (url, truth):
        (tmp_path / "run.yaml").write_text(MANIFEST.replace("URL", url))
        words = [*CLI, "run", str(tmp_path / "run.yaml"), "--out", str(tmp_path), "--quiet", "--format", "json",
                 "--max-output-tokens", "8"]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        asked = len(truth.read_text().splitlines())
    stages = {stage["name"]: stage for stage in json.loads(done.stdout)["stages"]}
    floors = {name: stage["client"]["calibration"] for name, stage in stages.items()}
    assert [floors[name]["streams"] for name in ("c4", "r4", "c9")] == [4, 4, 9]
    assert floors["c4"] == floors["r4"], "one level is calibrated once"
    for floor in floors.values():
        assert floor["answers"] >= floor["streams"]
        assert 0 < floor["ttft_error_p50_s"] < 0.005
    assert asked == 48, "the target is not what is calibrated against"


def test_calibrate_prints_one_row_a_level() -> None:
    done = subprocess.run([*CLI, "calibrate", "--concurrency", "1,20", "--format", "json"], capture_output=True, text=True,
                          check=True, timeout=60)  # fmt: skip
    assert [level["streams"] for level in json.loads(done.stdout)] == [1, 20]
