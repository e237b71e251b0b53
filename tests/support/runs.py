"""BenchmarkRuns in the making: facts in round numbers, and what a decision says."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.support.builders import NOW, a_run
from tests.support.results import a_result
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.settings import Settings
from tokenmark_operator.shared.facts import Decision, RunFacts
from tokenmark_schemas.documents import read_workload

SETTINGS = Settings(runner_image="runner:1", netprobe_image="netprobe:1", cluster="aks-1", provider="azure")


def facts(cr: dict[str, Any], **changes: Any) -> RunFacts:
    healthy = {"now": NOW, "workload": read_workload("smoke"), "target_exists": True, "others": [cr]}
    return RunFacts(cr=cr, settings=SETTINGS, **{**healthy, **changes})


def with_status(cr: dict[str, Any], decision: Decision) -> dict[str, Any]:
    """The object after the decision's status was written."""
    return {**cr, "status": decision.status}


def conditions(decision: Decision) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in decision.status["conditions"]}


def kinds(decision: Decision) -> list[str]:
    return [manifest["kind"] for manifest in decision.create]


def started(**spec: Any) -> tuple[dict[str, Any], Decision]:
    """A run whose first attempt was just recorded."""
    cr = a_run(**spec)
    decision = decide(facts(cr))
    return with_status(cr, decision), decision


def a_job(name: str = "demo-a1", *conditions_: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"job-{name}"},
        "spec": {"activeDeadlineSeconds": 600},
        "status": {"conditions": list(conditions_)},
    }


def a_pod(
    phase: str = "Running", *, exit_code: int | None = None, message: str = "", job: str = "demo-a1", **meta: Any
) -> dict[str, Any]:
    terminated = (
        {"terminated": {"exitCode": exit_code, "message": message}} if exit_code is not None else {"running": {}}
    )
    return {
        "metadata": {"name": f"{job}-x", "uid": f"pod-{job}", "namespace": "bench", **meta},
        "spec": {"nodeName": "node1"},
        "status": {"phase": phase, "startTime": "2030-01-01T00:00:00Z", "containerStatuses": [{"state": terminated}]},
    }


def evicted() -> dict[str, Any]:
    pod = a_pod("Failed", exit_code=143)
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    return pod


def lost_facts(cr: dict[str, Any], seconds_after: int = 60) -> RunFacts:
    pod = a_pod(deletionTimestamp="2030-01-01T00:00:00Z")
    at = facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": pod})
    return replace(at, now=NOW + timedelta(seconds=seconds_after))


def ended_facts(cr: dict[str, Any], **changes: Any) -> RunFacts:
    payload = gzip.compress(json.dumps(a_result(uid=cr["metadata"]["uid"]).snake()).encode())
    pod = a_pod("Succeeded", exit_code=0)
    blocks = {"pod-demo-a1": {"result": payload, "requests": b"rows"}}
    return facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": pod}, blocks=blocks, **changes)
