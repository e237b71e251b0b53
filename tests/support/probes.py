"""Nodes, NetProbes in the making and what their agents leave, as small as a test needs them."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from typing import Any

from tests.support.builders import NOW
from tokenmark_decisions.probe_pair import statistics_of, verdict_of
from tokenmark_operator.kinds.netprobe import decide_probe
from tokenmark_operator.settings import Settings
from tokenmark_operator.shared.facts import Decision, ProbeFacts
from tokenmark_schemas.probe_result import EndFacts, NetProbeResult, ProbeMeasurement, ProbeVerdict, Times

AT = "2030-01-01T00:00:00Z"


def a_node(name: str, zone: str = "", **spec: Any) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": ready}


def times(p50_ns: int = 60_000, count: int = 1000) -> Times:
    return Times(
        count=count, min_ns=p50_ns // 2, p50_ns=p50_ns, p90_ns=p50_ns * 4 // 3, p99_ns=p50_ns * 3 // 2, max_ns=p50_ns * 9,
        mean_ns=p50_ns,
    )  # fmt: skip


def a_measurement(test: str = "rtt", repetition: int = 0, **members: Any) -> ProbeMeasurement:
    known = {"type": "TCPLatency", "path": "PodToPod", "order": repetition, "seconds": 5}
    return ProbeMeasurement(test=test, repetition=repetition, **{**known, **members})


def a_probe_result(
    *, uid: str = "uid-ew", error: str | None = None, target_node: str | None = "node2", p50_ns: int = 60_000,
    measurements: list[ProbeMeasurement] | None = None,
) -> NetProbeResult:  # fmt: skip
    """Of six repetitions of one latency test, unless told otherwise."""
    if measurements is None:
        member = {"error": error} if error else {"rtt": times(p50_ns)}
        measurements = [a_measurement(repetition=i, **member) for i in range(6)]
    end = EndFacts(
        node="node1", kernel="6.1", iperf3_version="3.18", mtu_bytes=1500, congestion_control="cubic", cpus=2,
        cpu_used_ratio=0.1, throttled_s=None,
    )  # fmt: skip
    result = NetProbeResult(
        probe="ew", namespace="bench", uid=uid, source_node="node1", target_node=target_node, started_at=AT, ended_at=AT,
        seed=1, tests=sorted({m.test for m in measurements}), repetitions=len({m.repetition for m in measurements}), interrupted=False, client=end, server=end, measurements=measurements, statistics=statistics_of(measurements),
        verdict=ProbeVerdict(verdict="valid", reasons=[]),
    )  # fmt: skip
    return result.model_copy(update={"verdict": verdict_of(result)})


# --- a probe's life ---------------------------------------------------------------------------------------------------

SETTINGS = Settings(runner_image="runner:1", netprobe_image="netprobe:1")


def a_probe(name: str = "ew", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "bench", "uid": f"uid-{name}", "creationTimestamp": "2030-01-01T00:00:00Z"}
    spec = {"tests": [{"name": "rtt", "type": "TCPLatency"}], **spec}
    return {"apiVersion": "tokenmark.dev/v1alpha1", "kind": "NetProbe", "metadata": meta, "spec": spec}


NODES = [a_node("node1"), a_node("node2")]


def facts(cr: dict[str, Any], **changes: Any) -> ProbeFacts:
    return ProbeFacts(**{"cr": cr, "now": NOW, "settings": SETTINGS, "nodes": NODES, "others": [cr], **changes})


def after(cr: dict[str, Any], decision: Decision) -> dict[str, Any]:
    return {**cr, "status": decision.status}


def reason(decision: Decision, kind: str) -> str:
    return next(c["reason"] for c in decision.status["conditions"] if c["type"] == kind)


def names(decision: Decision) -> list[str]:
    return [f"{m['kind']}/{m['metadata']['name']}" for m in decision.create]


def packed(**changes: Any) -> bytes:
    return gzip.compress(json.dumps(a_probe_result(**changes).snake()).encode())


def running_job(name: str, *, over: bool = False, age_s: int = 0) -> dict[str, Any]:
    made = (NOW - timedelta(seconds=age_s)).isoformat().replace("+00:00", "Z")
    labels = {"tokenmark.dev/visit": name.split("-p")[1].split("-")[0]}
    conditions = [{"type": "Complete", "status": "True"}] if over else []
    meta = {"name": name, "uid": name, "labels": labels, "creationTimestamp": made}
    return {"metadata": meta, "spec": {}, "status": {"conditions": conditions}}


def a_pod(job: str, phase: str = "Running", exit_code: int | None = None) -> dict[str, Any]:
    state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code}}
    ready = [{"type": "Ready", "status": "True" if phase == "Running" else "False"}]
    status = {"phase": phase, "podIP": "198.18.1.9", "containerStatuses": [{"state": state}], "conditions": ready}
    labels = {"batch.kubernetes.io/controller-uid": job, "tokenmark.dev/visit": job.split("-p")[1].split("-")[0]}
    meta = {"name": f"{job}-x", "uid": f"pod-{job}", "labels": labels}
    return {"metadata": meta, "spec": {"nodeName": "node1"}, "status": status}


def jobs(*names: str, **changes: Any) -> dict[str, dict[str, Any]]:
    return {name: running_job(name, **changes) for name in names}


def placed(**spec: Any) -> dict[str, Any]:
    cr = a_probe(**spec)
    return after(cr, decide_probe(facts(cr)))


def ended(cr: dict[str, Any], visit: int, payload: bytes | None) -> dict[str, Any]:
    """Facts of a visit whose client ended and left `payload`."""
    server, client = f"ew-p{visit}-server", f"ew-p{visit}-client"
    both = {**jobs(server), **jobs(client, over=True)}
    known: dict[str, Any] = {"jobs": both, "pods": {client: a_pod(client, "Succeeded", 0)}}
    known["log_read"] = frozenset({f"pod-{client}"})
    if payload is not None:
        known["blocks"] = {f"pod-{client}": {"result": payload}}
    return {**known, "cr": cr}


def through(cr: dict[str, Any], *payloads: bytes | None) -> Decision:
    """The decision after every visit left what is given for it, and was read back."""
    kept = {}
    for number, payload in enumerate(payloads, start=1):
        cr = after(cr, decide_probe(facts(cr)))
        step = decide_probe(facts(**ended(cr, number, payload)))
        if payload and any(m["metadata"]["name"].endswith("-pair") for m in step.create_first):
            kept[number] = payload
        cr = after(cr, step)
    return decide_probe(facts(cr, visit_results=kept, visits_read=True))
