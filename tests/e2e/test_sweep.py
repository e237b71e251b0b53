"""A BenchmarkSweep in the cluster: two servers of known capacity, an operator that is killed between, and what a person reads of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.test_faults import kill_operator
from tests.support.lab import Lab, condition, run_object

PAGE = "/api/v1/namespaces/tokenmark-system/services/tokenmark-operator:8080/proxy/metrics"
SLOTS = {"narrow": 2, "wide": 8}


def a_sweep(name: str, **spec: object) -> dict[str, object]:
    base = run_object("x", objectives=[{"metric": "errors", "statistic": "mean", "maxPerMille": 10}])["spec"]
    for gone in ("stages", "repetitions"):
        del base[gone]
    targets = [
        {"name": each, "target": {"engine": "openai", "model": "sim", "serviceRef": {"name": each, "port": 8000}}}
        for each in SLOTS
    ]
    asked = {
        "vary": {"clients": [1, 4], "targets": targets},
        "each": {"durationSeconds": 2},
        "template": {"spec": base},
    }
    return {
        "apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkSweep", "metadata": {"name": name}, "spec": {**asked, **spec},
    }  # fmt: skip


def test_two_servers_are_swept_one_after_the_other_and_the_wider_one_goes_further(lab: Lab, tmp_path: Path) -> None:
    for name, slots in SLOTS.items():
        lab.simulator(name, "--ttft-ms", "20", "--itl-ms", "2", "--slots", str(slots))
    lab.apply(a_sweep("far"))
    first = lab.until("a run is made", lambda: lab.items("brun"), 30)[0]["metadata"]["name"]
    lab.running_pod(first)
    kill_operator(lab)
    done = lab.finished("far", kind="benchmarksweep", timeout_s=180)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    runs = {row["run"]: row for row in done["status"]["runs"]}
    assert set(runs) == {"far-narrow", "far-wide"} == {run["metadata"]["name"] for run in lab.items("brun")}
    assert {row["state"] for row in runs.values()} == {"Measured"}
    began = {run["metadata"]["name"]: run["status"] for run in lab.items("brun")}
    (other,) = set(began) - {first}
    assert began[first]["completionTime"] <= began[other]["startTime"], "one at a time"
    narrow, wide = (runs[f"far-{name}"] for name in SLOTS)
    assert (narrow["unit"], narrow["highMilli"], wide["highMilli"]) == ("streams", 4000, 4000)
    assert 1.5 < wide["bestPerSecondMilli"] / narrow["bestPerSecondMilli"] < 2.5, "two places, and four clients"
    shown = lab.kubectl("get", "benchmarksweeps").splitlines()
    assert shown[1].split()[:3] == ["far", "Completed", "2/2"]
    reported(lab, tmp_path, done["status"]["sweepID"])
    states = {
        sample.labels["state"]: sample.value
        for family in text_string_to_metric_families(lab.kubectl("get", "--raw", PAGE))
        for sample in family.samples
        if sample.name == "tokenmark_sweep_runs" and sample.labels["sweep_namespace"] == lab.namespace
    }
    assert (states["Measured"], states["Waiting"]) == (2, 0)
    lab.delete("benchmarksweep", "far")
    lab.until("its runs go with it", lambda: not lab.items("brun"), 60)


def reported(lab: Lab, folder: Path, identity: str) -> None:
    """`tokenmark sweep NAMESPACE/NAME` writes the report that a laptop's sweep has."""
    kubectl = lab.cluster.kubectl()
    env = {**os.environ, "KUBECONFIG": str(lab.cluster.kubeconfig()), "PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    words = [
        sys.executable,
        "-m",
        "bench_runner",
        "sweep",
        f"{lab.namespace}/far",
        "--out",
        str(folder),
        "--reports",
        str(folder),
    ]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "far-narrow" in done.stdout
    report = (folder / identity / "report.md").read_text()
    assert "| far-wide | openai | sim | smoke |" in report
    assert "## far-narrow" in report


def test_what_is_no_sweep_is_refused_by_the_api_server_and_the_question_stands(lab: Lab) -> None:
    def said(**spec: object) -> str:
        return lab.try_kubectl("apply", "-f", "-", stdin=json.dumps(a_sweep("asked", **spec))).stderr

    assert "name targets" in said(vary={"clients": [1], "engines": ["vllm"]})
    staged = {"spec": run_object("x")["spec"]}
    assert "leave stages and search out" in said(template=staged)
    brief = a_sweep("x")["spec"]["template"]["spec"] | {"ttlSecondsAfterFinished": 5}  # type: ignore[index]
    assert "set the sweep's own" in said(template={"spec": brief})
    assert said(suspend=True) == ""
    lab.until("it is suspended", lambda: _reason(lab, "asked") == "Suspended", 20)
    assert "immutable once created" in said(suspend=True, vary={"clients": [1, 2]})
    assert "immutable once created" in said(
        suspend=True, template={"spec": {**run_object("x")["spec"], "stages": None, "seed": 3}}
    )
    assert lab.items("brun") == []


def _reason(lab: Lab, name: str) -> str:
    return condition(lab.get("benchmarksweep", name) or {}, "Succeeded")["reason"]
