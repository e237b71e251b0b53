"""A matrix's server: Job and pod -> whether it can be asked, and why not (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from .attempt import alive, is_over, job_condition, pod_is_gone, termination_of
from .conditions import condition
from .times import parse_time


@dataclass(frozen=True)
class ServerView:
    """`message` is what it waits for, or what it failed of; `beyond` tells that it asked for more than there is: memory, or time."""

    state: Literal["Starting", "Ready", "Failed"]
    message: str = ""
    beyond: bool = False
    load_ms: int | None = None


def view_server(
    job: dict[str, Any] | None, pod: dict[str, Any] | None, now: datetime, *, load_s: int, startup_s: int, unmade: str = ""
) -> ServerView:  # fmt: skip
    """`load_s` counts from the start of its container, `startup_s` from the making of its Job until then."""
    if job is None:
        return ServerView("Failed", "its Job was deleted by somebody")
    if pod is None or (pod.get("gone") and termination_of(pod) is None):
        return _without_pod(job, pod, now, startup_s, unmade)
    if (ended := termination_of(pod)) is not None:
        return _ended(job, pod, ended)
    if pod["metadata"].get("deletionTimestamp"):
        return ServerView("Failed", f"its pod was told to end, on node {pod['spec'].get('nodeName', '?')}")
    if condition(pod, "Ready").get("status") == "True":
        return ServerView("Ready", load_ms=_load_ms(pod))
    began = _started_at(pod)
    if began is None:
        _, _, why = alive(pod, None)
        return _late(job, why, now, startup_s)
    if now > began + timedelta(seconds=load_s):
        return ServerView(
            "Failed", f"it did not answer within {load_s} s of its start (limits.loadSeconds)", beyond=True
        )
    return ServerView("Starting", "it loads its model")


def is_gone(job: dict[str, Any] | None, pod: dict[str, Any] | None) -> bool:
    """Nothing of it runs, or will."""
    return (job is None or is_over(job)) and pod_is_gone(pod)


def _without_pod(
    job: dict[str, Any], pod: dict[str, Any] | None, now: datetime, startup_s: int, unmade: str
) -> ServerView:
    failed = job_condition(job, "Failed")
    if pod is not None or is_over(job):
        why = f": {failed['message']}" if failed and failed.get("message") else ""
        return ServerView("Failed", f"its pod is gone{why}")
    return _late(job, unmade or "the Job controller has not made its pod yet", now, startup_s)


def _late(job: dict[str, Any], why: str, now: datetime, startup_s: int) -> ServerView:
    """Not running yet; for too long?"""
    made = parse_time(job["metadata"].get("creationTimestamp"))
    if made is not None and now > made + timedelta(seconds=startup_s):
        lacks = "Insufficient" in why
        said = f"no pod of it ran within {startup_s} s (server.execution.startupDeadlineSeconds): {why}"
        return ServerView("Failed", said, beyond=lacks)
    return ServerView("Starting", why)


def _ended(job: dict[str, Any], pod: dict[str, Any], ended: dict[str, Any]) -> ServerView:
    status = pod.get("status", {})
    failed = job_condition(job, "Failed") or job_condition(job, "FailureTarget") or {}
    if ended.get("reason") == "OOMKilled":
        return ServerView("Failed", "it was OOMKilled; give its file or server.execution more memory", beyond=True)
    if status.get("reason") == "Evicted":
        return ServerView("Failed", f"it was evicted: {status.get('message', '').strip()}")
    if "DeadlineExceeded" in (ended.get("reason"), failed.get("reason")):
        return ServerView("Failed", "its own deadline has passed (server.execution.activeDeadlineSeconds)")
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
