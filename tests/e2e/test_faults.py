"""What a cluster does to a run: evictions, dead operators, lost nodes, an API server that is away."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import pytest

from tests.cluster import controlplane, layout, nodes, processes
from tests.cluster.embedded import Embedded
from tests.support.lab import Lab, condition, long_stage, run_object

OPERATOR = ("-n", "tokenmark-system")
# What the cluster's own controllers may take to notice that the API server is back: client-go's reflectors double their
# wait from 0.8 s to 30 s, each with as much again at random, and the garbage collector needs them all.
CONTROLLERS_BACK_S = 240


def kill_operator(lab: Lab) -> None:
    """SIGKILL, as far as the pod can tell: no grace at all."""
    lab.kubectl(*OPERATOR, "delete", "pod", "-l", "app.kubernetes.io/component=operator", "--grace-period=0", "--force")


def embedded(lab: Lab) -> None:
    if not isinstance(lab.cluster, Embedded):
        pytest.skip("stops programs of the cluster itself: only on the embedded one")


def evict(lab: Lab, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": lab.namespace}}
    path = f"/api/v1/namespaces/{lab.namespace}/pods/{pod}/eviction"
    lab.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def test_an_evicted_runner_gets_a_new_attempt_that_is_marked(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("moved", stages=long_stage(6)))
    evict(lab, lab.running_pod("moved")["metadata"]["name"])
    run = lab.finished("moved")
    assert condition(run, "Succeeded")["status"] == "True", lab.explain()
    assert [(a["state"], a["reason"]) for a in run["status"]["attempts"]] == [
        ("Disrupted", "Evicted"),
        ("Succeeded", "Completed"),
    ]
    assert "attempt 2" in condition(run, "Valid")["message"]
    assert lab.result("moved-result")["run"]["attempt"] == 2


def test_a_runner_pod_deleted_by_hand_is_told_from_an_eviction(lab: Lab) -> None:
    lab.simulator()
    execution = {**run_object("x")["spec"]["execution"], "maxAttempts": 1}
    lab.apply(run_object("taken", stages=long_stage(60), execution=execution))
    lab.delete("pod", lab.running_pod("taken")["metadata"]["name"], "--wait=false")
    said = condition(lab.finished("taken"), "Succeeded")
    assert (said["status"], said["reason"]) == ("False", "PodDeleted"), lab.explain()


@pytest.mark.parametrize("moment", ["before the job", "while it runs", "after it ended"])
def test_an_operator_killed_at_any_moment_changes_nothing(lab: Lab, moment: str) -> None:
    lab.simulator()
    if moment == "before the job":
        kill_operator(lab)
        lab.apply(run_object("steady", stages=long_stage(4)))
    else:
        lab.apply(run_object("steady", stages=long_stage(4)))
        lab.running_pod("steady")
        if moment == "after it ended":
            lab.until("the pod ended", lambda: lab.runner_pods("steady")[0]["status"]["phase"] == "Succeeded", 30)
        kill_operator(lab)
    run = lab.finished("steady", timeout_s=120)
    assert condition(run, "Succeeded")["status"] == "True", lab.explain()
    assert len(run["status"]["attempts"]) == 1
    assert len(lab.runner_pods("steady")) == 1
    assert len(lab.items("cm", "tokenmark.dev/role=result")) == 1


def api_server_away(lab: Lab, seconds: float) -> None:
    processes.stop("apiserver")
    time.sleep(seconds)
    controlplane.apiserver()
    lab.until("the API server is back", controlplane.ready, 60)


def test_the_api_server_away_for_twenty_seconds_loses_nothing(lab: Lab) -> None:
    embedded(lab)
    lab.simulator()
    lab.apply(run_object("through", stages=long_stage(12)))
    lab.running_pod("through")
    api_server_away(lab, 20)
    run = lab.finished("through", timeout_s=150)
    assert condition(run, "Succeeded")["status"] == "True", lab.explain()
    assert len(run["status"]["attempts"]) == 1


@pytest.mark.trial
def test_a_run_deleted_after_the_api_server_was_away_leaves_no_load(lab: Lab) -> None:
    embedded(lab)
    lab.simulator()
    lab.apply(run_object("orphan", stages=long_stage(600)))
    lab.running_pod("orphan")
    api_server_away(lab, 20)
    lab.delete("brun", "orphan", "--wait=false")
    lab.until("its pods are gone", lambda: not lab.runner_pods("orphan"), CONTROLLERS_BACK_S)


def load_from_the_other_node(lab: Lab, name: str) -> str:
    """A run that loads the simulator, on the node where that is not; the node."""
    embedded(lab)
    lab.simulator()
    sim_node = lab.items("pods", "app=sim")[0]["spec"]["nodeName"]
    other = next(node for node in ("node1", "node2") if node != sim_node)
    execution = {**run_object("x")["spec"]["execution"], "nodeSelector": {"kubernetes.io/hostname": other}}
    lab.apply(run_object(name, stages=long_stage(200), execution=execution))
    lab.running_pod(name)
    return other


@pytest.mark.trial
def test_a_lost_node_ends_the_attempt_and_starts_no_second_load(lab: Lab) -> None:
    other = load_from_the_other_node(lab, "lost")
    processes.send(f"{other}-kubelet", signal.SIGKILL)
    try:
        lab.until("the attempt is given up", lambda: _attempts(lab, "lost")[0]["reason"] == "NodeLost", 180)
        lab.apply(run_object("next"))
        waiting = lab.until(
            "the next run waits", lambda: _admitted(lab, "next").get("status") == "False" and _admitted(lab, "next"), 30
        )
        assert "may still load the target" in waiting["message"], lab.explain()
        assert len(lab.runner_pods("lost")) == 1
        assert lab.runner_pods("next") == []
        assert "WaitingForLostNode" in condition(lab.get("brun", "lost") or {}, "Admitted")["reason"]
    finally:
        nodes.kubelet(int(other[-1]))
    lab.until("a new attempt, once the old pod is known gone", lambda: len(_attempts(lab, "lost")) == 2, 120)
    lab.delete("brun", "lost", "--wait=false")
    assert condition(lab.finished("next", timeout_s=120), "Succeeded")["status"] == "True", lab.explain()


@pytest.mark.trial
def test_a_deleted_run_on_a_lost_node_keeps_its_target_until_the_pod_cannot_load_it(lab: Lab) -> None:
    other = load_from_the_other_node(lab, "gone")
    processes.send(f"{other}-kubelet", signal.SIGKILL)
    try:
        lab.delete("brun", "gone", "--wait=false")
        lab.until("the run is gone", lambda: lab.get("brun", "gone") is None, 60)
        lab.apply(run_object("heir"))
        queued = lab.reason("heir", "Queued", timeout_s=30)
        assert f"may still run on node {other}" in condition(queued, "Admitted")["message"], lab.explain()
        time.sleep(10)
        assert lab.runner_pods("heir") == []
    finally:
        nodes.kubelet(int(other[-1]))
    assert condition(lab.finished("heir", timeout_s=120), "Succeeded")["reason"] == "Completed", lab.explain()


def _attempts(lab: Lab, name: str) -> list[dict]:
    return (lab.get("brun", name) or {}).get("status", {})["attempts"]


def _admitted(lab: Lab, name: str) -> dict:
    return condition(lab.get("brun", name) or {}, "Admitted")


def in_the_runner(lab: Lab, pod: str, code: str) -> subprocess.Popen[bytes]:
    """Python inside the runner's container, beside the runner, until the container ends."""
    words = [str(lab.cluster.kubectl()), "--kubeconfig", str(lab.cluster.kubeconfig()), "-n", lab.namespace]
    return subprocess.Popen(
        [*words, "exec", pod, "--", "/opt/tokenmark/bin/python", "-c", code],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.trial
def test_a_runner_that_fills_its_disk_is_evicted_by_the_kubelet_and_that_is_said(lab: Lab) -> None:
    lab.simulator()
    execution = {**run_object("x")["spec"]["execution"], "maxAttempts": 1}
    lab.apply(run_object("full", stages=long_stage(120), execution=execution))
    pod = lab.running_pod("full")["metadata"]["name"]
    filler = "f = open('/tmp/fill', 'wb')\nfor _ in range(1100): f.write(bytes(2**20))\nf.flush()"
    assert in_the_runner(lab, pod, filler).wait(60) == 0
    said = condition(lab.finished("full", timeout_s=120), "Succeeded")
    assert (said["status"], said["reason"]) == ("False", "Evicted"), lab.explain()
    assert "evicted by the kubelet" in said["message"]
    assert "EmptyDir volume" in said["message"]


def test_noise_between_the_lines_of_a_result_does_no_harm(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("noisy", stages=long_stage(5)))
    pod = lab.running_pod("noisy")["metadata"]["name"]
    noise = (
        "import time\nout = open('/proc/1/fd/2', 'w', buffering=1)\nwhile True:\n"
        " print('Traceback (most recent call last):', 'x' * 300, 'tokenmark-frame/v1 result', file=out)\n"
        " print('half a line without an end', end='', file=out, flush=True)\n time.sleep(0.0005)"
    )
    process = in_the_runner(lab, pod, noise)
    try:
        run = lab.finished("noisy", timeout_s=120)
    finally:
        process.kill()
        process.wait()
    assert condition(run, "Succeeded")["status"] == "True", lab.explain()
    assert condition(run, "ResultsStored")["reason"] == "Stored", lab.explain()
    assert lab.kubectl("logs", pod, "--tail=-1").count("Traceback") > 100


def scale_operator(lab: Lab, replicas: int) -> None:
    lab.kubectl(*OPERATOR, "scale", "deploy/tokenmark-operator", f"--replicas={replicas}")
    lab.kubectl(*OPERATOR, "rollout", "status", "deploy/tokenmark-operator", "--timeout=60s")
    if replicas == 0:
        lab.until("the operator is gone", lambda: not _operator_pods(lab), 60)


def _operator_pods(lab: Lab) -> list[dict]:
    chosen = ("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json")
    return json.loads(lab.kubectl(*OPERATOR, *chosen))["items"]


def test_a_run_that_ends_while_no_operator_lives_is_stored_by_the_next_one(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("alone", stages=long_stage(4)))
    lab.running_pod("alone")
    scale_operator(lab, 0)
    lab.until("the pod ended", lambda: lab.runner_pods("alone")[0]["status"]["phase"] == "Succeeded", 60)
    assert lab.get("cm", "alone-result") is None
    scale_operator(lab, 1)
    run = lab.finished("alone", timeout_s=60)
    assert condition(run, "Succeeded")["status"] == "True", lab.explain()
    assert lab.result("alone-result")["stages"][0]["requests"]["succeeded"] > 10
    assert len(lab.runner_pods("alone")) == 1


def test_a_log_that_the_kubelet_cannot_give_costs_the_result_but_not_the_facts(lab: Lab) -> None:
    embedded(lab)
    lab.simulator()
    lab.apply(run_object("unread", stages=long_stage(4)))
    pod = lab.running_pod("unread")
    scale_operator(lab, 0)
    lab.until("the pod ended", lambda: lab.runner_pods("unread")[0]["status"]["phase"] == "Succeeded", 60)
    logs = layout.STATE / pod["spec"]["nodeName"] / "podlogs"
    shutil.rmtree(next(logs.glob(f"{lab.namespace}_{pod['metadata']['name']}_*")))
    scale_operator(lab, 1)
    run = lab.finished("unread", timeout_s=120)
    assert condition(run, "Succeeded")["reason"] == "ResultsLost", lab.explain()
    assert condition(run, "ResultsStored")["status"] == "False"
    assert "termination message" in condition(run, "Succeeded")["message"]
    assert '"requests"' in condition(run, "Succeeded")["message"]
