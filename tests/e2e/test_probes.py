"""NetProbes on real nodes: every test and path, rounds, faults, and what is kept of each pair."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster import images, nodes, processes, release
from tests.cluster.embedded import Embedded
from tests.support.lab import Lab, condition

QUICK = {"durationSeconds": 1, "warmupSeconds": 0}
RTT = {"name": "rtt", "type": "TCPLatency", **QUICK}
LONG = {"name": "long", "type": "TCPLatency", "durationSeconds": 60, "warmupSeconds": 0, "rateHz": 200}
SMALL = {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}}


def a_probe(name: str, *tests: dict[str, Any], **spec: Any) -> dict[str, Any]:
    body = {"tests": list(tests), "repetitions": 1, "execution": SMALL, **spec}
    return {"apiVersion": "tokenmark.dev/v1alpha1", "kind": "NetProbe", "metadata": {"name": name}, "spec": body}


def finished(lab: Lab, name: str, timeout_s: float = 150) -> dict[str, Any]:
    found: dict[str, Any] = lab.finished(name, kind="nprobe", timeout_s=timeout_s)
    return found


def rows(probe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By test, of the pair that crosses nodes."""
    return {r["test"]: r for r in probe["status"]["summary"] if r["sourceNode"] != r.get("targetNode")}


def test_every_kind_of_test_has_its_figures_between_two_nodes(lab: Lab) -> None:
    lab.simulator()
    page = {
        "name": "page",
        "type": "HTTPGet",
        "target": {"url": f"http://sim.{lab.namespace}:8000/health"},
        "rateHz": 50,
    }
    dns = {
        "name": "dns",
        "type": "DNSLookup",
        "target": {"names": ["kubernetes.default.svc.cluster.local."]},
        "rateHz": 50,
    }
    flow = {"type": "Throughput", "durationSeconds": 2, "omitSeconds": 1}
    lab.apply(
        a_probe(
            "east-west", RTT, {"name": "new", "type": "TCPConnect", **QUICK}, {"name": "udp", "type": "UDPLatency", **QUICK},
            {"name": "service", "type": "TCPConnect", "path": "PodToService", **QUICK},
            {"name": "tcp", "parallelStreams": 2, "pingBeside": True, **flow}, {"name": "both", "direction": "Bidirectional", **flow},
            {"name": "flood", "protocol": "UDP", "bitrate": "50M", "blockBytes": 1400, **flow},
            {**page, **QUICK}, {**dns, **QUICK},
        )
    )  # fmt: skip
    probe = finished(lab, "east-west")
    assert condition(probe, "Succeeded")["reason"] == "Completed", lab.explain()
    found = rows(probe)
    assert {found["rtt"]["sourceNode"], found["rtt"]["targetNode"]} == {"node1", "node2"}
    assert 1_000 < found["rtt"]["rttNanosecondsP50"] < 20_000_000
    assert 0 < found["new"]["connectNanosecondsP50"] < found["new"]["firstByteNanosecondsP50"]
    assert found["service"]["path"] == "PodToService"
    assert found["udp"]["lossPartsPerMillion"] == 0
    assert found["tcp"]["throughputBitsPerSecond"] > 10_000_000
    assert found["tcp"]["loadedRttNanosecondsP50"] > 0
    assert found["both"]["reverseThroughputBitsPerSecond"] > 10_000_000
    assert 45e6 < found["flood"]["throughputBitsPerSecond"] < 55e6
    assert found["page"]["firstByteNanosecondsP50"] > 0
    assert found["dns"]["lookupNanosecondsP50"] > 0
    assert "targetNode" not in found["page"]
    document = lab.result("east-west-nprobe-result")
    assert document["schema_version"] == "netprobe-ew/v1"
    measured = [m for pair in document["pairs"] for m in pair["measurements"]]
    assert [m["error"] for m in measured if m["error"]] == []
    assert {m["stamps"] for m in measured if m["rtt"]} == {"kernel"}
    ends = [end for pair in document["pairs"] for end in (pair["client"], pair["server"]) if end]
    assert {end["node"] for end in ends} == {"node1", "node2"}
    assert {end["iperf3_version"].split(".")[0] for end in ends} == {"3"}
    lab.until("servers and their Services are gone", lambda: not lab.items("jobs,svc", "tokenmark.dev/role=server"), 40)


def test_a_floor_is_measured_first_and_an_objective_judges_the_worst_pair(lab: Lab) -> None:
    met = {"metric": "rtt", "statistic": "p50", "maxMicroseconds": 1_000_000}
    missed = {"metric": "rtt", "statistic": "mean", "maxMicroseconds": 1, "onViolation": "Fail"}
    lab.apply(a_probe("judged", RTT, repetitions=6, objectives=[met, missed]))
    probe = finished(lab, "judged")
    assert condition(probe, "Succeeded")["reason"] == "ObjectiveViolated", lab.explain()
    assert [o["met"] for o in probe["status"]["objectives"]] == ["True", "False"]
    floor, crossing = probe["status"]["summary"]
    assert floor["sourceNode"] == floor["targetNode"] == crossing["sourceNode"] != crossing["targetNode"]
    assert crossing["low"] <= crossing["rttNanosecondsP50"] <= crossing["high"], "six repetitions give an interval"
    shown = lab.kubectl("get", "nprobe", "judged").splitlines()
    assert shown[0].split()[:5] == ["NAME", "STATE", "PAIRS", "RTT-P99(US)", "MBIT/S-MEDIAN"]
    assert shown[1].split()[1:3] == ["ObjectiveViolated", "2/2"]


@pytest.mark.trial
def test_a_connection_through_a_service_is_dearer_than_one_to_its_pod(lab: Lab) -> None:
    """By a few microseconds of address translation: in the median of what each repetition on each pair found."""
    new = {"type": "TCPConnect", "durationSeconds": 2, "warmupSeconds": 0, "rateHz": 300}
    lab.apply(
        a_probe("dearer", {"name": "pod", **new}, {"name": "service", "path": "PodToService", **new}, repetitions=6)
    )
    finished(lab, "dearer")
    more = []
    for pair in lab.result("dearer-nprobe-result")["pairs"]:
        found = {(m["test"], m["repetition"]): m["connect"]["p50_ns"] for m in pair["measurements"]}
        more += [found["service", i] - found["pod", i] for i in range(6)]
    assert 0 < statistics.median(more) < 100_000, sorted(more)


@pytest.mark.trial
def test_nodes_own_network_only_where_the_administrator_allows_it(lab: Lab) -> None:
    host = {**RTT, "name": "host", "path": "NodeToNode"}
    lab.apply(a_probe("refused", host))
    assert condition(finished(lab, "refused"), "Accepted")["reason"] == "HostNetworkForbidden"
    lab.kubectl("label", "ns", lab.namespace, "pod-security.kubernetes.io/enforce=privileged", "--overwrite")
    release.install(lab.cluster, lab.images, *release.settings(lab.cluster), "netprobe.hostNetwork=true")
    try:
        lab.apply(a_probe("bare", host, RTT))
        found = rows(finished(lab, "bare"))
        assert found["host"]["path"] == "NodeToNode"
        assert found["host"]["rttNanosecondsP50"] > 0
        assert found["rtt"]["rttNanosecondsP50"] > 0
    finally:
        release.install(lab.cluster, lab.images, *release.settings(lab.cluster))


# --- what happens to it ------------------------------------------------------------------------------------------------


def running(lab: Lab, name: str, role: str = "client", visit: int = 0) -> dict[str, Any]:
    """The pod of an agent that measures."""
    selector = f"tokenmark.dev/probe={name},tokenmark.dev/role={role}" + (
        f",tokenmark.dev/visit={visit}" if visit else ""
    )

    def fact() -> dict[str, Any] | None:
        return next((p for p in lab.items("pods", selector) if p["status"]["phase"] == "Running"), None)

    found: dict[str, Any] = lab.until(f"{role} agent of {name} runs", fact, 60)
    return found


def test_an_operator_that_is_killed_between_pairs_loses_none_that_was_measured(lab: Lab) -> None:
    lab.apply(a_probe("steady", {**RTT, "durationSeconds": 4}))
    lab.until("the first pair is kept", lambda: len(lab.items("cm", "tokenmark.dev/role=visit")) == 1, 60)
    lab.kubectl(
        "-n",
        "tokenmark-system",
        "delete",
        "pod",
        "-l",
        "app.kubernetes.io/component=operator",
        "--grace-period=0",
        "--force",
    )
    lab.kubectl("delete", "pods", "-l", "tokenmark.dev/role=client,tokenmark.dev/visit=1")
    probe = finished(lab, "steady")
    assert condition(probe, "Succeeded")["reason"] == "Completed", lab.explain()
    assert len(lab.result("steady-nprobe-result")["pairs"]) == 2


@pytest.mark.parametrize("role", ["client", "server"])
def test_an_agent_that_is_killed_fails_its_pair_by_name_and_the_others_are_kept(lab: Lab, role: str) -> None:
    lab.apply(a_probe("cut", LONG | {"durationSeconds": 6}))
    lab.until("the first pair is kept", lambda: len(lab.items("cm", "tokenmark.dev/role=visit")) == 1, 60)
    running(lab, "cut", "client", 2)
    lab.kubectl(
        "delete",
        "pod",
        "-l",
        f"tokenmark.dev/probe=cut,tokenmark.dev/visit=2,tokenmark.dev/role={role}",
        "--wait=false",
    )
    probe = finished(lab, "cut")
    said = condition(probe, "Succeeded")
    assert said["reason"] == "PairsFailed", lab.explain()
    assert "1 of 2 visits failed" in said["message"]
    assert [p["state"] for p in probe["status"]["pairs"]] == ["Completed", "Failed"]
    assert len(probe["status"]["summary"]) == 1


@pytest.mark.trial
def test_a_node_that_is_lost_mid_round_is_named(lab: Lab) -> None:
    if not isinstance(lab.cluster, Embedded):
        pytest.skip("stops a kubelet: only on the embedded cluster")
    lab.apply(a_probe("lost", LONG))
    node = running(lab, "lost", "client", 1)["spec"]["nodeName"]
    processes.send(f"{node}-kubelet", signal.SIGKILL)
    try:
        pair = lab.until("the pair is given up", lambda: _failed_pair(lab, "lost"), 150)
        assert "NodeLost" in pair["message"], pair
    finally:
        nodes.kubelet(int(node[-1]))
        lab.delete("nprobe", "lost", "--wait=false")
    lab.until("both nodes are back", lambda: len(_ready_nodes(lab)) == 2, 60)


def _failed_pair(lab: Lab, name: str) -> dict[str, Any] | None:
    pairs = (lab.get("nprobe", name) or {}).get("status", {})["pairs"]
    return next((p for p in pairs if p["state"] == "Failed"), None)


def _ready_nodes(lab: Lab) -> list[str]:
    return [
        node["metadata"]["name"]
        for node in lab.items("nodes")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    ]


@contextmanager
def deaf(node: str, port: int) -> Iterator[None]:
    """What a default-deny NetworkPolicy does: pods of other nodes get no answer on that port."""
    rule = ["FORWARD", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
    table = ["ip", "netns", "exec", node, "iptables"]
    subprocess.run([*table, "-I", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run([*table, "-D", *rule], check=True)


@pytest.mark.trial
def test_agents_that_a_policy_keeps_apart_say_so(lab: Lab) -> None:
    if not isinstance(lab.cluster, Embedded):
        pytest.skip("needs the nodes' packet filter: only on the embedded cluster")
    with deaf("node1", 5203), deaf("node2", 5203):
        lab.apply(a_probe("apart", RTT))
        probe = finished(lab, "apart", timeout_s=200)
    said = condition(probe, "Succeeded")
    assert said["reason"] in ("PeerUnreachable", "PairsFailed"), lab.explain()
    crossing = [p for p in probe["status"]["pairs"] if p["sourceNode"] != p["targetNode"]]
    assert "NetworkPolicy" in crossing[0]["message"]


def test_suspended_it_stops_and_resumed_it_goes_on_where_it_was(lab: Lab) -> None:
    lab.apply(a_probe("held", {**RTT, "durationSeconds": 5}))
    lab.until("the first pair is kept", lambda: len(lab.items("cm", "tokenmark.dev/role=visit")) == 1, 60)
    lab.kubectl("patch", "nprobe", "held", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    lab.until("its agents are gone", lambda: not _living(lab), 60)
    assert lab.get("nprobe", "held")["status"]["pairsProgress"] == "1/2"  # type: ignore[index]
    lab.kubectl("patch", "nprobe", "held", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert condition(finished(lab, "held"), "Succeeded")["reason"] == "Completed", lab.explain()


def _living(lab: Lab) -> list[dict[str, Any]]:
    return [p for p in lab.items("pods", "tokenmark.dev/probe") if p["status"]["phase"] in ("Pending", "Running")]


# Seven seconds each, one after the other; fifty are a trial of their own: TOKENMARK_PROBES=50.
MANY = int(os.environ.get("TOKENMARK_PROBES", "5"))


def test_many_probes_queue_and_all_finish(lab: Lab) -> None:
    alone = {"placement": {"topology": "SameNode", "maxNodes": 1}}
    page = {
        "name": "dns",
        "type": "DNSLookup",
        "target": {"names": ["kubernetes.default.svc.cluster.local."]},
        "rateHz": 200,
    }
    lab.apply(*(a_probe(f"q{n}", {**page, **QUICK}, **alone) for n in range(MANY)))

    def done() -> list[str]:
        return [
            condition(p, "Succeeded")["reason"]
            for p in lab.items("nprobe")
            if condition(p, "Finished")["status"] == "True"
        ]

    began = time.monotonic()
    most = 0
    while len(done()) < MANY:
        most = max(most, len(_living(lab)))
        assert time.monotonic() - began < 20 * MANY, lab.explain()
        time.sleep(1)
    assert set(done()) == {"Completed"}
    assert most <= 3, "one measures while the one before winds down and another is being made"


@pytest.mark.trial
def test_a_mesh_of_three_nodes_goes_through_rounds_of_disjoint_pairs(lab: Lab) -> None:
    if not isinstance(lab.cluster, Embedded):
        pytest.skip("adds a node: only to the embedded cluster")
    with lab.cluster.another_node(images.archive_of(lab.images["netprobe"])) as third:
        mesh = {"placement": {"topology": "Mesh"}, "pairs": {"maxConcurrent": 4}}
        lab.apply(a_probe("mesh", {**RTT, "durationSeconds": 2}, **mesh))
        together: set[frozenset[int]] = set()

        def over() -> bool:
            probe = lab.get("nprobe", "mesh") or {}
            pairs = (probe.get("status") or {}).get("pairs") or []
            running = [p for p in pairs if p["state"] == "Running"]
            nodes_of = [node for p in running for node in {p["sourceNode"], p["targetNode"]}]
            assert len(nodes_of) == len(set(nodes_of)), "two pairs that run share a node"
            together.add(frozenset(p["index"] for p in running))
            return condition(probe, "Finished")["status"] == "True"

        lab.until("the mesh is measured", over, 150)
        probe = finished(lab, "mesh")
        assert condition(probe, "Succeeded")["reason"] == "Completed", lab.explain()
        crossing = [p for p in probe["status"]["pairs"] if p["sourceNode"] != p["targetNode"]]
        assert len({frozenset((p["sourceNode"], p["targetNode"])) for p in crossing}) == 3
        assert {p["sourceNode"] for p in crossing} == {p["targetNode"] for p in crossing} == {"node1", "node2", third}
        assert len({p["round"] for p in crossing}) == 3
        assert probe["status"]["pairsOf"] == 3


def test_what_cannot_be_is_refused_by_the_api_server(lab: Lab) -> None:
    wrong = [
        ({"name": "u", "type": "Throughput", "protocol": "UDP"}, "needs bitrate"),
        ({"name": "t", "type": "HTTPGet"}, "HTTPGet and DNSLookup need target"),
        ({"name": "t", "type": "TCPLatency", "path": "PodToTarget"}, "go together"),
        ({"name": "t", "type": "TCPLatency", "target": {"host": "a", "port": 1}}, "measured by TCPConnect"),
        ({"name": "t", "type": "TCPConnect", "target": {"host": "a"}}, "host needs port"),
    ]
    for test, said in wrong:
        done = lab.try_kubectl("apply", "-f", "-", stdin=json.dumps(a_probe("wrong", test)))
        assert said in done.stderr, (test, done.stderr)
