"""One attempt: Job, Pod and captured log -> what state it is in, and why (pure).

A Job's word is not enough: a pod that was evicted or deleted can make a Complete Job. What counts is the verified
result frame and how the pod ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from tokenmark_schemas.result import TerminationSummary

from ..plan.names import index_of
from .times import parse_time

State = Literal["Pending", "Running", "Finished", "Failed", "Disrupted"]
NODE_LOST_AFTER_S = 15
FAILURE_TARGET_S = 60
WAITING = {
    "CreateContainerConfigError": "ContainerConfigError",  # a Secret or a key that is not there
    "ErrImagePull": "ImagePullFailed", "ImagePullBackOff": "ImagePullFailed", "InvalidImageName": "ImagePullFailed",
    "ErrImageNeverPull": "ImagePullFailed",
}  # fmt: skip


@dataclass
class AttemptView:
    """`Finished`: the runner ended by itself, whatever its exit code. `Failed`: it will not give a result any more."""

    state: State
    reason: str
    message: str
    node: str | None = None
    pod_uid: str | None = None
    exit_code: int | None = None
    summary: TerminationSummary | None = None
    blocks: dict[str, bytes] = field(default_factory=dict)


def view_attempt(
    job: dict[str, Any],
    pod: dict[str, Any] | None,
    blocks: dict[str, bytes],
    progress: dict[str, Any] | None,
    now: datetime,
    team: Sequence[dict[str, Any]] = (),
    unmade: str = "",
) -> AttemptView:
    """`pod` is the newest one seen, even if it is gone by now: of several the leading one, which has the result."""
    facts: dict[str, Any] = {"blocks": blocks}
    if pod is not None:
        facts.update(node=pod["spec"].get("nodeName"), pod_uid=pod["metadata"]["uid"])
    if lost := _first_lost(job, (pod, *team), now):
        return AttemptView("Disrupted", "NodeLost", lost[0], **{**facts, "node": lost[1]})
    if (alone := _without_lead(pod, team)) is not None:
        return AttemptView("Failed", "PodsMissing", alone, **facts)
    if job.get("spec", {}).get("suspend") and not is_over(job):
        message = "the Job is suspended, by a queue such as Kueue; it goes on when that lets it"
        return AttemptView("Pending", "JobSuspended", message, **facts)
    if pod is None or (pod.get("gone") and not termination_of(pod)):
        return _without_pod(job, pod, facts, unmade)
    terminated = termination_of(pod)
    if terminated is None:
        return _living(job, pod, progress, team, facts)
    summary = _summary(terminated.get("message", ""))
    facts.update(exit_code=terminated.get("exitCode"), summary=summary)
    disruption = _disruption(job, pod)
    if disruption:
        return AttemptView("Disrupted", *disruption, **facts)
    if summary is not None and (summary.lost_pod or summary.missing_pod):
        return _without_member(job, summary, team, facts)
    return _ended(job, terminated, summary, facts)


def _living(
    job: dict[str, Any], pod: dict[str, Any], progress: dict[str, Any] | None, team: Sequence[dict[str, Any]],
    facts: dict[str, Any],
) -> AttemptView:  # fmt: skip
    """The pod waits or runs."""
    ended = job_condition(job, "Failed") or job_condition(job, "Complete")
    if ended and ended.get("reason") == "DeadlineExceeded":
        return AttemptView("Failed", "DeadlineExceeded", ended.get("message", ""), **facts)
    state, reason, message = alive(pod, progress)
    if progress and progress.get("phase") == "gathering":
        message += "".join(f"; {said}" for said in map(_absence, team) if said)
    return AttemptView(state, reason, message, **facts)


def _without_lead(pod: dict[str, Any] | None, team: Sequence[dict[str, Any]]) -> str | None:
    """What a member says that waited in vain for a leading pod which never ran; None where that is not so."""
    if pod is not None and pod.get("status", {}).get("phase") not in (None, "Pending"):
        return None
    for member in team:
        ended = termination_of(member)
        if ended is not None and ended.get("exitCode") == 5 and (said := _summary(ended.get("message", ""))):
            why = alive(pod, None)[2] if pod is not None else ""
            return "; ".join(filter(None, (said.message, f"pod 0: {why}" if why else "")))
    return None


def _absence(member: dict[str, Any]) -> str:
    """Why a pod of a team does not run yet; empty where it does."""
    state, _, message = alive(member, None)
    return f"pod {index_of(member)}: {message}" if state == "Pending" else ""


def _without_member(
    job: dict[str, Any], summary: TerminationSummary, team: Sequence[dict[str, Any]], facts: dict[str, Any]
) -> AttemptView:
    """The leading pod says that another one did not come or was lost: what became of that one decides."""
    index = summary.lost_pod or summary.missing_pod
    member = next((member for member in team if index_of(member) == index), None)
    terminated = termination_of(member) if member is not None else None
    if summary.missing_pod and (terminated is None or terminated.get("exitCode") in (None, 5, 143)):
        why = _absence(member) if member is not None and terminated is None else ""
        return AttemptView("Failed", "PodsMissing", "; ".join(filter(None, (summary.message, why))), **facts)
    if disruption := _disruption(job, member):
        return AttemptView("Disrupted", *disruption, **facts)
    if terminated is not None and terminated.get("exitCode") not in (None, 5):  # 5: it lost the leading one too
        return _ended(job, terminated, _summary(terminated.get("message", "")), facts)
    if member is not None:
        facts["node"] = member["spec"].get("nodeName")
    return AttemptView("Disrupted", "PodLost", summary.message, **facts)


def job_condition(job: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """A condition of a Job that is True."""
    found = (c for c in job.get("status", {}).get("conditions", []) if c["type"] == kind and c["status"] == "True")
    return next(found, None)


def is_over(job: dict[str, Any]) -> bool:
    """True when the Job controller will make no pod any more."""
    return bool(job_condition(job, "Complete") or job_condition(job, "Failed"))


def pod_is_gone(pod: dict[str, Any] | None) -> bool:
    """True when no container of it can be running any more."""
    return pod is None or bool(pod.get("gone")) or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def has_ended(pod: dict[str, Any]) -> bool:
    """True once its container has, whatever the Job says."""
    return termination_of(pod) is not None


def termination_of(pod: dict[str, Any]) -> dict[str, Any] | None:
    for status in pod.get("status", {}).get("containerStatuses", []):
        state: dict[str, Any] | None = status.get("state", {}).get("terminated")
        if state:
            return state
    if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
        return {"exitCode": None, "reason": pod["status"].get("reason", ""), "message": ""}
    return None


def _first_lost(
    job: dict[str, Any], pods: Sequence[dict[str, Any] | None], now: datetime
) -> tuple[str, str | None] | None:
    """(message, node) of the first pod whose node does not answer."""
    for pod in pods:
        if pod is not None and (lost := node_lost(job, pod, now)):
            return lost, pod["spec"].get("nodeName")
    return None


def node_lost(job: dict[str, Any], pod: dict[str, Any] | None, now: datetime) -> str | None:
    """The kubelet does not answer: the pod was told to end and nothing happened."""
    if pod is None or pod_is_gone(pod) or termination_of(pod):
        return None
    node = pod["spec"].get("nodeName", "?")
    deleted = parse_time(pod["metadata"].get("deletionTimestamp"))
    if deleted and now > deleted + timedelta(seconds=NODE_LOST_AFTER_S):
        return f"node {node} does not answer: pod {pod['metadata']['name']} was told to end and still has not"
    target = job_condition(job, "FailureTarget")
    since = parse_time(target["lastTransitionTime"]) if target else None
    if since and now > since + timedelta(seconds=FAILURE_TARGET_S):
        return f"node {node} does not answer: the Job failed and pod {pod['metadata']['name']} still has not ended"
    return None


def _disruption(job: dict[str, Any], pod: dict[str, Any] | None) -> tuple[str, str] | None:
    """Evicted, preempted, drained or deleted: what took the pod away, told apart."""
    status = pod.get("status", {}) if pod else {}
    if status.get("reason") == "Evicted":
        return "Evicted", f"evicted by the kubelet: {status.get('message', '').strip()}"
    for condition in status.get("conditions", []):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return "Evicted", f"{condition.get('reason', 'disrupted')}: {condition.get('message', '').strip()}"
    failed = job_condition(job, "Failed") or job_condition(job, "FailureTarget")
    if failed and failed.get("reason") == "PodFailurePolicy":
        return "Evicted", f"the pod was disrupted: {failed.get('message', '')}"
    if failed and failed.get("reason") == "DeadlineExceeded":
        return None
    if pod and (pod["metadata"].get("deletionTimestamp") or pod.get("gone")) and not _finished_by_itself(pod):
        return "PodDeleted", "the runner pod was deleted by somebody before it had finished"
    return None


def _finished_by_itself(pod: dict[str, Any]) -> bool:
    terminated = termination_of(pod)
    return terminated is not None and terminated.get("exitCode") in (0, 2, 3, 4, 5)


def _without_pod(job: dict[str, Any], pod: dict[str, Any] | None, facts: dict[str, Any], unmade: str) -> AttemptView:
    disruption = _disruption(job, pod)
    if disruption:
        return AttemptView("Disrupted", *disruption, **facts)
    failed = job_condition(job, "Failed")
    if failed and failed.get("reason") == "DeadlineExceeded":
        return AttemptView("Failed", "DeadlineExceeded", failed.get("message", ""), **facts)
    if failed:
        return AttemptView("Disrupted", "PodDeleted", f"the runner pod is gone: {failed.get('message', '')}", **facts)
    if job_condition(job, "Complete"):
        return AttemptView("Finished", "Collecting", "the runner pod ended and is gone", **facts)
    if unmade:
        return AttemptView("Pending", "PodNotMade", unmade, **facts)
    return AttemptView("Pending", "Pending", "waiting for the Job controller to make the pod", **facts)


def alive(pod: dict[str, Any], progress: dict[str, Any] | None) -> tuple[State, str, str]:
    for status in pod.get("status", {}).get("containerStatuses", []):
        waiting = status.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            reason = WAITING.get(waiting["reason"], "Pending")
            return "Pending", reason, f"{waiting['reason']}: {waiting.get('message', '')}".strip(": ")
        if "running" in status.get("state", {}):
            return "Running", *_doing(progress)
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            reason = "Unschedulable" if condition.get("reason") == "Unschedulable" else "Pending"
            return "Pending", reason, f"{condition.get('reason')}: {condition.get('message', '')}"
    return "Pending", "Pending", "the pod is starting"


def _doing(progress: dict[str, Any] | None) -> tuple[str, str]:
    """Progress frame -> reason and message."""
    if not progress or progress.get("phase") == "starting":
        return "Running", "the runner has started"
    if progress["phase"] == "gathering":
        return "Gathering", f"waiting for the other runner pods: {progress.get('stage')} are there"
    if progress["phase"] == "storing":
        return "Storing", f"uploading results to {progress.get('stage')}"
    if progress["phase"] == "detail":
        return "Running", "the load is over; handing over results"
    if progress["phase"] == "warmup":
        return "WarmingUp", "warming up"
    return (
        "Running",
        f"stage {progress.get('stage')}, repetition {progress.get('repetition')} of {progress.get('repetitions')}",
    )


def _ended(
    job: dict[str, Any], terminated: dict[str, Any], summary: TerminationSummary | None, facts: dict[str, Any]
) -> AttemptView:
    code = terminated.get("exitCode")
    if code is None and terminated.get("reason") == "DeadlineExceeded":
        return AttemptView("Failed", "DeadlineExceeded", "the pod's own deadline has passed", **facts)
    failed = job_condition(job, "Failed") or job_condition(job, "FailureTarget")
    if failed and failed.get("reason") == "DeadlineExceeded":
        return AttemptView("Failed", "DeadlineExceeded", failed.get("message", ""), **facts)
    if terminated.get("reason") == "OOMKilled":
        return AttemptView(
            "Failed", "RunnerError", "the runner was OOMKilled; raise spec.execution.resources.limits.memory", **facts
        )
    said = summary.message if summary else ""
    if code in (0, 3, 4):
        return AttemptView("Finished", "Collecting", "the runner has ended; collecting results", **facts)
    if code == 5 and summary and summary.outcome == "interrupted":
        return AttemptView("Failed", "DeadlineExceeded", said or "the runner's own deadline has passed", **facts)
    reason = {2: "InvalidInput", 5: "TargetFailed"}.get(code or -1, "RunnerError")
    tail = said or terminated.get("message", "").strip()[-300:]
    return AttemptView("Failed", reason, tail or f"the runner ended with exit code {code}", **facts)


def _summary(text: str) -> TerminationSummary | None:
    """Strictly parsed: a text that is not ours is not taken for a result."""
    try:
        return TerminationSummary.model_validate_json(text, extra="ignore")
    except ValidationError:
        return None
