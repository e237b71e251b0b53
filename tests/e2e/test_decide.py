"""A run against a baseline, in the cluster and from the command line: the same figures in condition, status, metric and table."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.support.lab import Lab, condition, run_object

ENOUGH = [{"name": "c4", "concurrency": 4, "requestCount": 150}]
GATES = [{"metric": "ttft", "statistic": "p50"}, {"metric": "success_rate"}]


def test_a_slower_run_is_regressed_and_a_like_one_is_not(lab: Lab) -> None:
    lab.simulator("sim", "--ttft-ms", "20", "--itl-ms", "1")
    lab.simulator("slow", "--ttft-ms", "26", "--itl-ms", "1")
    plan = {"stages": ENOUGH, "repetitions": 3, "maxOutputTokens": 8}
    lab.apply(run_object("before", **plan))
    assert condition(lab.finished("before", timeout_s=120), "Succeeded")["status"] == "True", lab.explain()
    ref = {"name": "before", "gates": GATES, "onRegression": "Fail"}
    lab.apply(run_object("alike", **plan, baselineRef=ref))
    lab.apply(run_object("slower", **plan, baselineRef=ref, target={"engine": "openai", "model": "sim", "serviceRef": {"name": "slow", "port": 8000}}))
    alike, slower = (lab.finished(name, timeout_s=180) for name in ("alike", "slower"))

    assert condition(alike, "NotRegressed")["status"] == "True", lab.explain()
    assert condition(alike, "Succeeded")["status"] == "True", lab.explain()
    said = condition(slower, "NotRegressed")
    assert (said["status"], said["reason"]) == ("False", "Regressed"), lab.explain()
    assert "ttft p50 at c4 +" in said["message"]
    assert condition(slower, "Succeeded")["reason"] == "Regressed"

    found = compared(lab, "before", "slower")
    line = next(each for each in found["lines"] if (each["metric"], each["statistic"]) == ("ttft", "p50"))
    kept = json.loads((lab.get("cm", "slower-result") or {})["data"]["comparison.json"])
    assert line["change"] == next(e for e in kept["lines"] if (e["metric"], e["statistic"]) == ("ttft", "p50"))["change"]
    row = next(row for row in slower["status"]["comparison"] if (row["metric"], row.get("statistic")) == ("ttft", "p50"))
    assert row["changePerMille"] == round(1000 * line["change"])
    assert 0.2 < line["change"] < 0.4


def compared(lab: Lab, baseline: str, current: str) -> dict[str, list[dict[str, object]]]:
    """By the command line, which asks the cluster through kubectl."""
    kubectl = lab.cluster.kubectl()
    env = {**os.environ, "KUBECONFIG": str(lab.cluster.kubeconfig()), "PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    words = [sys.executable, "-m", "bench_runner", "compare", f"{lab.namespace}/{baseline}", f"{lab.namespace}/{current}"]
    done = subprocess.run([*words, "--gate", "ttft:p50", "--format", "json"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return found
