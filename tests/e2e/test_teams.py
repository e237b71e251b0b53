"""Several runner pods that share one load, on two real nodes."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from bench_runner.stats.summary import percentile
from tests.e2e.test_faults import evict
from tests.support.lab import Lab, Object, condition, long_stage, run_object

SMALL = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


def team(name: str, pods: int = 2, **spec: object) -> Object:
    return run_object(name, execution={"workers": pods, "resources": SMALL}, **spec)


def members(lab: Lab, name: str, attempt: int = 1) -> dict[int, Object]:
    """Runner pods by index."""
    found = lab.items("pods", f"tokenmark.dev/run={name},tokenmark.dev/attempt={attempt}")
    return {int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]): pod for pod in found}


def test_two_pods_on_two_nodes_give_the_percentiles_of_the_pooled_samples(lab: Lab) -> None:
    lab.simulator("sim", "--ttft-ms", "20", "--itl-ms", "5", "--jitter-ms", "10")
    stages = [{"name": "r40", "requestRate": "40", "arrival": "Poisson", "durationSeconds": 8}]
    lab.apply(team("pair", stages=stages, workload={**WORK}, workloadRef=None))
    run = lab.finished("pair", timeout_s=120)
    assert condition(run, "Succeeded")["reason"] == "Completed", lab.explain()
    pods = members(lab, "pair")
    assert {pod["spec"]["nodeName"] for pod in pods.values()} == {"node1", "node2"}
    result = lab.result("pair-result")
    stage, rows = result["stages"][0], _rows(lab, "pair-result")
    client = stage["client"]
    assert (client["pods"], client["workers"]) == (2, 2)
    assert client["start_skew_s"] < 1.0
    assert client["clock_uncertainty_s"] < 0.1
    assert client["calibration"]["answers"] > 0, "every pod measured its floor"
    assert sorted(row["seq"] for row in rows) == list(range(stage["requests"]["due"])), (
        "one schedule, each arrival once"
    )
    assert stage["requests"]["succeeded"] == len(rows) > 250
    for metric, of in (("ttft", _ttft), ("e2e", _e2e)):
        pooled = sorted(of(row) for row in rows)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95)):
            assert stage["metrics"][metric][name] == pytest.approx(percentile(pooled, share), rel=1e-3), metric
    assert run["status"]["summary"][0]["requests"] == len(rows)
    lab.until("the place to meet is gone", lambda: not lab.items("services", "tokenmark.dev/run=pair"), 20)


def test_a_pod_lost_in_the_middle_is_a_disrupted_attempt_and_not_a_smaller_result(lab: Lab) -> None:
    lab.simulator()
    lab.apply(team("broken", stages=long_stage(8)))
    lab.until(
        "the load runs", lambda: "stage c2" in (lab.get("brun", "broken") or {})["status"].get("progress", ""), 60
    )
    follower = members(lab, "broken")[1]
    evict(lab, follower["metadata"]["name"])
    run = lab.finished("broken", timeout_s=120)
    assert condition(run, "Succeeded")["status"] == "True", lab.explain()
    attempts = [(a["state"], a["reason"]) for a in run["status"]["attempts"]]
    assert attempts == [("Disrupted", "Evicted"), ("Succeeded", "Completed")], lab.explain()
    result = lab.result("broken-result")
    assert (result["run"]["attempt"], result["stages"][0]["client"]["pods"]) == (2, 2)
    assert "attempt 2" in condition(run, "Valid")["message"]
    lab.until("both places to meet are gone", lambda: not lab.items("services", "tokenmark.dev/run=broken"), 20)


def test_a_follower_out_of_memory_or_killed_fails_the_run_by_its_own_reason(lab: Lab) -> None:
    lab.simulator()
    run = team("shot", stages=long_stage(60))
    run["spec"]["execution"]["maxAttempts"] = 1
    lab.apply(run)
    lab.until("the load runs", lambda: "stage c2" in (lab.get("brun", "shot") or {})["status"].get("progress", ""), 60)
    lab.delete("pod", members(lab, "shot")[1]["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
    said = condition(lab.finished("shot", timeout_s=90), "Succeeded")
    assert (said["status"], said["reason"]) == ("False", "PodDeleted"), lab.explain()


def test_pods_that_find_no_room_are_named_while_the_others_wait(lab: Lab) -> None:
    lab.simulator()
    run = team("crowd", pods=3, stages=long_stage(2))
    run["spec"]["execution"]["resources"] = {"requests": {"cpu": "1200m"}, "limits": {"memory": "512Mi"}}
    lab.apply(run)
    progress = lab.until(
        "the run says which pod it waits for",
        lambda: (
            (said := (lab.get("brun", "crowd") or {})["status"].get("progress", ""))
            and "Insufficient cpu" in said
            and said
        ),
        60,
    )
    assert "waiting for the other runner pods" in progress or "Unschedulable" in progress
    lab.delete("brun", "crowd", "--wait=false")
    lab.until("its pods are gone", lambda: not members(lab, "crowd"), 60)


WORK = {"dataset": {"synthetic": {"inputTokens": {"mean": 32}}}, "maxOutputTokens": 8}


def _ttft(row: Object) -> float:
    return float(row["content_ns"][0] - row["sent_ns"]) / 1e9


def _e2e(row: Object) -> float:
    return float(row["content_ns"][-1] - row["sent_ns"]) / 1e9


def _rows(lab: Lab, config_map: str) -> list[Object]:
    found = lab.get("cm", config_map)
    assert found is not None
    text = gzip.decompress(base64.b64decode(found["binaryData"]["requests.jsonl.gz"])).decode()
    return [json.loads(line) for line in text.splitlines()]
