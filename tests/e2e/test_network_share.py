"""A run that is joined with its network: probed before the load, or by a probe that it names."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.lab import Lab, condition, run_object

SHARED = {"stages": [{"name": "c1", "concurrency": 1, "durationSeconds": 5}], "repetitions": 1}
LARGE = {"dataset": {"synthetic": {"inputTokens": {"mean": 4000}}}, "maxOutputTokens": 4}
RTT = {"name": "rtt", "type": "TCPLatency", "durationSeconds": 1, "warmupSeconds": 0}


@contextmanager
def limited(megabits: int) -> Iterator[None]:
    """A rate on the way out of both nodes."""
    nodes = ("node1", "node2")
    shaped = ("tbf", "rate", f"{megabits}mbit", "burst", "5kb", "latency", "50ms")
    for node in nodes:
        subprocess.run(["tc", "-n", node, "qdisc", "add", "dev", "eth0", "root", *shaped], check=True)
    try:
        yield
    finally:
        for node in nodes:
            subprocess.run(["tc", "-n", node, "qdisc", "del", "dev", "eth0", "root"], check=True)


def joined(lab: Lab, name: str, timeout_s: float = 180) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the object, its result) of a run that succeeded."""
    run = lab.finished(name, timeout_s=timeout_s)
    assert condition(run, "Succeeded")["reason"] == "Completed", lab.explain()
    return run, lab.result(f"{name}-result")


def of_ttft(result: dict[str, Any]) -> dict[str, Any]:
    assert result["network"]["missing"] is None, result["network"]
    found: dict[str, Any] = next(share for share in result["network"]["shares"] if share["metric"] == "ttft")
    return found


@pytest.mark.trial
def test_a_limited_way_is_found_by_the_run_that_crosses_it_and_explains_how_it_differs(lab: Lab) -> None:
    """Some 20 kB of request, 15 kB of them at 50 Mbit/s, are more than two milliseconds; on the target's own node there are none."""
    lab.simulator()
    (server,) = lab.items("pods", "app=sim")
    there = server["spec"]["nodeName"]
    here = "node2" if there == "node1" else "node1"
    found = {}
    with limited(50):
        for name, node in (("crossing", here), ("beside", there)):
            lab.apply(
                run_object(name, workloadRef=None, workload=LARGE, **SHARED, network={"measure": True, "repetitions": 3},
                           execution={"nodeSelector": {"kubernetes.io/hostname": node}})
            )  # fmt: skip
            lab.reason(name, "WaitingForNetProbe")
            found[name] = joined(lab, name)
    crossing, beside = (found[name][1] for name in ("crossing", "beside"))
    assert (crossing["network"]["source_node"], crossing["network"]["target_node"]) == (here, there)
    assert (beside["network"]["source_node"], beside["network"]["target_node"]) == (there, there)
    assert 40e6 < crossing["network"]["throughput_bits_per_s"] < 51e6
    said = of_ttft(crossing)["network_s"] - of_ttft(beside)["network_s"]
    really = of_ttft(crossing)["mean_s"] - of_ttft(beside)["mean_s"]
    assert 0.001 < said < 0.004, (said, of_ttft(crossing))
    assert abs(said - really) < 0.001, (said, really, of_ttft(crossing), of_ttft(beside))
    (summary,) = found["crossing"][0]["status"]["summary"]
    assert summary["networkTtftPerMille"] == round(1000 * of_ttft(crossing)["ratio"])
    assert summary["networkTpotPerMille"] == 0
    assert found["crossing"][0]["status"]["attempts"][0]["node"] == here
    lab.delete("brun", "crossing")
    lab.until("its probe goes with it", lambda: lab.get("nprobe", "crossing-network") is None, 30)


def test_a_probe_that_is_named_is_waited_for_and_a_slow_engine_is_none_of_its_doing(lab: Lab) -> None:
    lab.simulator("sim", "--ttft-ms", "80")
    lab.apply(
        run_object("patient", netProbeRef={"name": "east-west"}), run_object("lost", netProbeRef={"name": "no-such"})
    )
    lab.reason("patient", "WaitingForNetProbe")
    spec = {"tests": [RTT], "repetitions": 3, "placement": {"topology": "Mesh"}}
    lab.apply(
        {"apiVersion": "tokenmark.dev/v1alpha1", "kind": "NetProbe", "metadata": {"name": "east-west"}, "spec": spec}
    )
    _, result = joined(lab, "patient")
    ttft = of_ttft(result)
    assert result["network"]["probe"] == "east-west"
    assert result["network"]["rtt"]["p50_s"] < 0.005
    assert ttft["mean_s"] > 0.08
    assert ttft["ratio"] < 0.05, ttft
    assert condition(lab.finished("lost", timeout_s=60), "Succeeded")["reason"] == "NetProbeNotFound"
