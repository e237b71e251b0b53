"""A matrix's server: Job and pod -> whether it can be asked, and why not (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from .attempt import alive, is_over, job_condition, pod_is_gone, termination_of
from .conditions import condition
from .times import parse_time

LOST_S = 120


@dataclass(frozen=True)
class ServerView:
    """`message` is what it waits for, or what it failed of; `beyond` tells that it asked for more than there is: memory, or time; `disrupted` that it was taken
    away for no fault of its own."""

    state: Literal["Starting", "Ready", "Failed"]
    message: str = ""
    beyond: bool = False
    disrupted: bool = False
    load_ms: int | None = None


def view_server(
    job: dict[str, Any] | None, pod: dict[str, Any] | None, now: datetime, *, load_s: int, startup_s: int, unmade: str = ""
) -> ServerView:  # fmt: skip
    """`load_s` counts from the start of its container, or from when it was last ready; `startup_s` from the making of its Job until its container starts."""
    if job is None:
        return ServerView("Failed", "its Job was deleted by somebody")
    pod = pod if _is_of(job, pod) else None
    if pod is None or (pod.get("gone") and termination_of(pod) is None):
        return _without_pod(job, pod, now, startup_s, unmade)
    if (ended := termination_of(pod)) is not None:
        return _ended(job, pod, ended)
    if pod["metadata"].get("deletionTimestamp"):
        said = f"its pod was told to end, on node {pod['spec'].get('nodeName', '?')}"
        return ServerView("Failed", said, disrupted=True)
    ready = condition(pod, "Ready")
    if ready.get("status") == "True":
        return ServerView("Ready", load_ms=_load_ms(pod))
    began = _started_at(pod)
    if began is None:
        _, _, why = alive(pod, None)
        return _late(job, why, now, startup_s)
    since = max(began, parse_time(ready.get("lastTransitionTime")) or began)
    if now > since + timedelta(seconds=load_s):
        return ServerView("Failed", f"it did not answer for {load_s} s (limits.loadSeconds)", beyond=True)
    return ServerView("Starting", "it loads its model")


def view_task(
    job: dict[str, Any], pod: dict[str, Any] | None, now: datetime, *, startup_s: int, does: str, unmade: str = ""
) -> ServerView:
    """A Job that comes to an end by itself: `Ready` once it has done what `does` says."""
    if job_condition(job, "Complete"):
        return ServerView("Ready")
    ended = termination_of(pod) if pod else None
    if is_over(job) and pod is not None and ended is not None:
        return _ended(job, pod, ended, memory="it was OOMKilled", deadline="its own deadline has passed")
    if is_over(job):
        return ServerView("Failed", f"its pod is gone: {(job_condition(job, 'Failed') or {}).get('message', '')}")
    if job["spec"].get("suspend"):
        return ServerView("Starting", "its Job is suspended, by a queue such as Kueue")
    if pod is None or (_started_at(pod) is None and ended is None):
        return _late(
            job, alive(pod, None)[2] if pod else unmade or "the Job controller has not made its pod yet", now, startup_s
        )
    return ServerView("Starting", does)


def _is_of(job: dict[str, Any], pod: dict[str, Any] | None) -> bool:
    """A pod of an earlier Job of this name is none of this one's."""
    if pod is None:
        return False
    labels = pod["metadata"].get("labels") or {}
    made_by = labels.get("batch.kubernetes.io/controller-uid") or labels.get("controller-uid")
    return made_by in (None, job["metadata"].get("uid"))


def is_gone(job: dict[str, Any] | None, pod: dict[str, Any] | None, now: datetime) -> bool:
    """Nothing of it runs, or will. A node that does not answer keeps its pods for ever: what should have ended there long ago is no server any more."""
    return (job is None or is_over(job)) and (pod_is_gone(pod) or _is_lost(pod, now))


def _is_lost(pod: dict[str, Any] | None, now: datetime) -> bool:
    ends = parse_time(pod["metadata"].get("deletionTimestamp")) if pod else None
    return ends is not None and now > ends + timedelta(seconds=LOST_S)


def _without_pod(
    job: dict[str, Any], pod: dict[str, Any] | None, now: datetime, startup_s: int, unmade: str
) -> ServerView:
    failed = job_condition(job, "Failed")
    if pod is not None or is_over(job):
        why = f": {failed['message']}" if failed and failed.get("message") else ""
        return ServerView("Failed", f"its pod is gone{why}", disrupted=True)
    if job["spec"].get("suspend"):
        return ServerView("Starting", "its Job is suspended, by a queue such as Kueue")
    return _late(job, unmade or "the Job controller has not made its pod yet", now, startup_s)


def _late(job: dict[str, Any], why: str, now: datetime, startup_s: int) -> ServerView:
    """Not running yet; for too long?"""
    made = parse_time(job["metadata"].get("creationTimestamp"))
    if made is not None and now > made + timedelta(seconds=startup_s):
        lacks = "Insufficient" in why
        said = f"no pod of it ran within {startup_s} s (execution.startupDeadlineSeconds): {why}"
        return ServerView("Failed", said, beyond=lacks)
    return ServerView("Starting", why)


def _ended(
    job: dict[str, Any], pod: dict[str, Any], ended: dict[str, Any],
    memory: str = "it was OOMKilled; give its file or server.execution more memory",
    deadline: str = "its own deadline has passed (server.execution.activeDeadlineSeconds)",
) -> ServerView:  # fmt: skip
    """What Kubernetes knows goes before what the container said: that may be anybody's words."""
    status = pod.get("status", {})
    failed = job_condition(job, "Failed") or job_condition(job, "FailureTarget") or {}
    if ended.get("reason") == "OOMKilled":
        return ServerView("Failed", memory, beyond=True)
    if status.get("reason") == "Evicted":
        return ServerView("Failed", f"it was evicted: {status.get('message', '').strip()}", disrupted=True)
    if condition(pod, "DisruptionTarget").get("status") == "True":
        said = condition(pod, "DisruptionTarget")
        return ServerView("Failed", f"{said.get('reason')}: {said.get('message', '').strip()}", disrupted=True)
    if "DeadlineExceeded" in (ended.get("reason"), failed.get("reason")):
        return ServerView("Failed", deadline)
    if ended.get("exitCode") is None:  # no container of it ever told
        reason = status.get("reason") or failed.get("reason") or "no reason"
        why = status.get("message") or failed.get("message") or "nobody says why"
        return ServerView("Failed", f"its pod failed: {reason}: {why}"[:900])
    last = (ended.get("message") or "").strip()[-600:]
    return ServerView("Failed", f"it ended with exit code {ended.get('exitCode')}" + (f": {last}" if last else ""))


def _started_at(pod: dict[str, Any]) -> datetime | None:
    for each in pod.get("status", {}).get("containerStatuses", []):
        if running := each.get("state", {}).get("running"):
            return parse_time(running.get("startedAt"))
    return None


def _load_ms(pod: dict[str, Any]) -> int | None:
    """Both ends are the kubelet's, to the second."""
    began, ready = _started_at(pod), parse_time(condition(pod, "Ready").get("lastTransitionTime"))
    return round((ready - began).total_seconds() * 1000) if began and ready and ready >= began else None
