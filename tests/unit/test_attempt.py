"""Job, pod and log -> what became of an attempt: everything that takes a pod away is told apart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.builders import NOW
from tokenmark_operator.observe.attempt import view_attempt
from tokenmark_operator.shared.conditions import stamp


def job(*conditions: tuple[str, str], since_s: int = 0) -> dict[str, Any]:
    at = stamp(NOW - timedelta(seconds=since_s))
    found = [
        {"type": t, "status": "True", "reason": r, "message": f"{r}!", "lastTransitionTime": at} for t, r in conditions
    ]
    return {"metadata": {"name": "j"}, "spec": {}, "status": {"conditions": found}}  # fmt: skip


def pod(phase: str = "Running", exit_code: int | None = None, message: str = "", **changes: Any) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}}
    if exit_code is not None:
        state = {"terminated": {"exitCode": exit_code, "message": message, "reason": changes.pop("why", "Error")}}
    meta = {"name": "p", "uid": "p-1", **changes.pop("metadata", {})}
    status = {"phase": phase, "containerStatuses": [{"state": state}], **changes.pop("status", {})}
    return {"metadata": meta, "spec": {"nodeName": "node1"}, "status": status, **changes}


DELETED = {"deletionTimestamp": stamp(NOW)}
LONG_DELETED = {"deletionTimestamp": stamp(NOW - timedelta(seconds=60))}
TARGET = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}]
WAITING = [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]
UNSCHEDULABLE = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]
SUMMARY = '{"outcome": "failed", "exit_code": 5, "message": "connection refused", "stages": []}'

CASES: list[tuple[str, dict[str, Any], dict[str, Any] | None, str, str, str]] = [
    ("no pod yet", job(), None, "Pending", "Pending", "waiting for the Job controller"),
    ("image missing", job(), pod("Pending", status={"containerStatuses": WAITING}), "Pending", "ImagePullFailed", "ImagePullBackOff: no such image"),
    ("nowhere to go", job(), pod("Pending", status={"containerStatuses": [], "conditions": UNSCHEDULABLE}), "Pending", "Unschedulable", "0/2 nodes"),
    ("running", job(), pod(), "Running", "Running", "the runner has started"),
    ("ended well", job(("Complete", "")), pod("Succeeded", 0), "Finished", "Collecting", "collecting"),
    ("objective missed", job(("Failed", "BackoffLimitExceeded")), pod("Failed", 3), "Finished", "Collecting", "collecting"),
    ("bad input", job(("Failed", "BackoffLimitExceeded")), pod("Failed", 2), "Failed", "InvalidInput", "exit code 2"),
    ("target away", job(("Failed", "BackoffLimitExceeded")), pod("Failed", 5, SUMMARY), "Failed", "TargetFailed", "connection refused"),
    ("crash", job(("Failed", "BackoffLimitExceeded")), pod("Failed", 1, "Traceback: boom"), "Failed", "RunnerError", "boom"),
    ("out of memory", job(("Failed", "BackoffLimitExceeded")), pod("Failed", 137, why="OOMKilled"), "Failed", "RunnerError", "raise spec.execution.resources.limits.memory"),
    ("too long", job(("Failed", "DeadlineExceeded")), pod("Failed", 143), "Failed", "DeadlineExceeded", "DeadlineExceeded!"),
    ("evicted by the API", job(("FailureTarget", "PodFailurePolicy")), pod("Failed", 143, status={"conditions": TARGET}), "Disrupted", "Evicted", "EvictionByEvictionAPI: drained"),
    ("evicted by the kubelet", job(("Failed", "BackoffLimitExceeded")), pod("Failed", 137, status={"reason": "Evicted", "message": "emptyDir full"}), "Disrupted", "Evicted", "evicted by the kubelet: emptyDir full"),
    ("deleted by hand", job(), pod("Failed", 143, metadata=DELETED), "Disrupted", "PodDeleted", "deleted by somebody"),
    ("deleted after it had finished", job(("Complete", "")), pod("Succeeded", 0, metadata=DELETED), "Finished", "Collecting", "collecting"),
    ("gone without a trace", job(("Failed", "BackoffLimitExceeded")), pod(gone=True), "Disrupted", "PodDeleted", ""),
    ("complete and gone", job(("Complete", "")), None, "Finished", "Collecting", "is gone"),
    ("node silent after a deletion", job(), pod(metadata=LONG_DELETED), "Disrupted", "NodeLost", "node node1 does not answer"),
    ("being deleted, node alive", job(), pod(metadata=DELETED), "Running", "Running", ""),
]  # fmt: skip


@pytest.mark.parametrize(("job_", "pod_", "state", "reason", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_became_of_an_attempt(
    job_: dict[str, Any], pod_: dict[str, Any] | None, state: str, reason: str, said: str
) -> None:
    view = view_attempt(job_, pod_, {}, None, NOW)
    assert (view.state, view.reason) == (state, reason)
    assert said in view.message


def test_a_job_that_failed_and_whose_pod_does_not_end_means_a_lost_node() -> None:
    young = view_attempt(job(("FailureTarget", "PodFailurePolicy"), since_s=20), pod(), {}, None, NOW)
    old = view_attempt(job(("FailureTarget", "PodFailurePolicy"), since_s=90), pod(), {}, None, NOW)
    assert (young.state, old.reason) == ("Running", "NodeLost")


def test_progress_is_shown_in_words() -> None:
    told = {"phase": "measure", "stage": "c8", "repetition": 2, "repetitions": 3}
    assert view_attempt(job(), pod(), {}, told, NOW).message == "stage c8, repetition 2 of 3"
    assert view_attempt(job(), pod(), {}, {"phase": "warmup"}, NOW).reason == "WarmingUp"


def mate(
    index: int, phase: str = "Running", exit_code: int | None = None, message: str = "", **changes: Any
) -> dict[str, Any]:
    label = {"batch.kubernetes.io/job-completion-index": str(index)}
    meta = {"name": f"p-{index}", "uid": f"p-{index}", "labels": label, **changes.pop("metadata", {})}
    return {**pod(phase, exit_code, message, metadata=meta, **changes), "spec": {"nodeName": "node2"}}


LOST = '{"outcome": "interrupted", "exit_code": 5, "message": "runner pod 1 of 2 was lost: closed", "lost_pod": 1}'
ABSENT = '{"outcome": "failed", "exit_code": 5, "message": "1 of 2 runner pods came within 300 s", "missing_pod": 1}'
MATES: list[tuple[str, dict[str, Any], dict[str, Any], str, str, str]] = [
    ("one evicted", pod("Failed", 5, LOST), mate(1, "Failed", 143, status={"conditions": TARGET}), "Disrupted", "Evicted", "drained"),
    ("one deleted", pod("Failed", 5, LOST), mate(1, "Failed", 143, metadata=DELETED), "Disrupted", "PodDeleted", "deleted by somebody"),
    ("one out of memory", pod("Failed", 5, LOST), mate(1, "Failed", 137, why="OOMKilled"), "Failed", "RunnerError", "limits.memory"),
    ("one silent", pod("Failed", 5, LOST), mate(1), "Disrupted", "PodLost", "runner pod 1 of 2 was lost"),
    ("a broken line", pod("Failed", 5, LOST), mate(1, "Failed", 5, SUMMARY), "Disrupted", "PodLost", "runner pod 1 of 2 was lost"),
    ("one's node gone", pod(), mate(1, metadata=LONG_DELETED), "Disrupted", "NodeLost", "node node2 does not answer"),
    ("one never came", pod("Failed", 5, ABSENT), mate(1, "Pending", status={"containerStatuses": [], "conditions": UNSCHEDULABLE}), "Failed", "PodsMissing", "0/2 nodes"),
    ("one refused its own configuration", pod("Failed", 5, ABSENT), mate(1, "Failed", 2, '{"outcome": "failed", "exit_code": 2, "message": "the API token is empty", "stages": []}'), "Failed", "InvalidInput", "the API token is empty"),
    ("the leader never ran", pod("Pending", status={"containerStatuses": [], "conditions": UNSCHEDULABLE}), mate(1, "Failed", 5, '{"outcome": "failed", "exit_code": 5, "message": "the leading runner pod was not there", "stages": []}'), "Failed", "PodsMissing", "was not there; pod 0: Unschedulable: 0/2 nodes"),
    ("the target failed all", pod("Failed", 5, SUMMARY), mate(1, "Failed", 143, metadata=DELETED), "Failed", "TargetFailed", "connection refused"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lead", "other", "state", "reason", "said"), [c[1:] for c in MATES], ids=[c[0] for c in MATES]
)
def test_what_became_of_an_attempt_of_several_pods(
    lead: dict[str, Any], other: dict[str, Any], state: str, reason: str, said: str
) -> None:
    view = view_attempt(job(), lead, {}, None, NOW, [other])
    assert (view.state, view.reason) == (state, reason)
    assert said in view.message


def test_a_leader_that_waits_says_for_whom_and_why() -> None:
    absent = mate(1, "Pending", status={"containerStatuses": [], "conditions": UNSCHEDULABLE})
    view = view_attempt(job(), pod(), {}, {"phase": "gathering", "stage": "1 of 2"}, NOW, [absent])
    assert (view.state, view.reason) == ("Running", "Gathering")
    assert view.message == "waiting for the other runner pods: 1 of 2 are there; pod 1: Unschedulable: 0/2 nodes"


def test_a_termination_message_that_is_not_ours_is_no_summary() -> None:
    view = view_attempt(job(), pod("Failed", 1, '{"outcome": "completed", "surprise": 1}'), {}, None, NOW)
    assert view.summary is None
