"""Nodes and probe results, as small as a test needs them."""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.probe_pair import statistics_of, verdict_of
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
