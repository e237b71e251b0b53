"""A probe's life from facts, and what counts as a figure of iperf3."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from typing import Any

import pytest

from netprobe.parse import NoFigure, parse_iperf3
from tests.support.builders import NOW
from tokenmark_operator.kinds.netprobe import decide_probe
from tokenmark_operator.settings import Settings
from tokenmark_operator.shared.facts import Decision, ProbeFacts, Refusal
from tokenmark_schemas.netprobe import NetProbeResult, ProbeMeasurement, ProbeTest, Rtt

SETTINGS = Settings(runner_image="runner:1", netprobe_image="netprobe:1")


def a_probe(name: str = "ew", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "bench", "uid": f"uid-{name}", "creationTimestamp": "2030-01-01T00:00:00Z"}
    spec = {"tests": [{"name": "rtt", "type": "TCPLatency"}], **spec}
    return {"apiVersion": "tokenmark.dev/v1alpha1", "kind": "NetProbe", "metadata": meta, "spec": spec}


def a_node(name: str, **spec: Any) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "labels": {}}, "spec": spec, "status": ready}


NODES = [a_node("node1"), a_node("node2")]


def facts(cr: dict[str, Any], **changes: Any) -> ProbeFacts:
    return ProbeFacts(**{"cr": cr, "now": NOW, "settings": SETTINGS, "nodes": NODES, "others": [cr], **changes})


def after(cr: dict[str, Any], decision: Decision) -> dict[str, Any]:
    return {**cr, "status": decision.status}


def reason(decision: Decision, kind: str) -> str:
    return next(c["reason"] for c in decision.status["conditions"] if c["type"] == kind)


def names(decision: Decision) -> list[str]:
    return [f"{m['kind']}/{m['metadata']['name']}" for m in decision.create]


def a_result(uid: str = "uid-ew", error: str | None = None) -> bytes:
    rtt = Rtt(count=100, min_ns=1, p50_ns=60_000, p90_ns=80_000, p99_ns=90_000, max_ns=1, mean_ns=1)
    measured = ProbeMeasurement(
        test="rtt", type="TCPLatency", path="PodToPod", repetition=0, rtt=None if error else rtt, error=error
    )
    at = "2030-01-01T00:00:00Z"
    result = NetProbeResult(
        probe="ew", namespace="bench", uid=uid, source_node="node1", target_node="node2", started_at=at, ended_at=at,
        iperf3_version="3.18", kernel="6", mtu_bytes=1500, congestion_control="cubic", measurements=[measured],
    )  # fmt: skip
    return gzip.compress(json.dumps(result.snake()).encode())


def running_job(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name}, "spec": {}, "status": {"conditions": []}}


def a_pod(job: str, phase: str = "Running", exit_code: int | None = None) -> dict[str, Any]:
    state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code}}
    status = {"phase": phase, "podIP": "198.18.1.9", "containerStatuses": [{"state": state}]}
    return {"metadata": {"name": f"{job}-x", "uid": f"pod-{job}"}, "spec": {"nodeName": "node1"}, "status": status}


def placed() -> dict[str, Any]:
    cr = a_probe()
    return after(cr, decide_probe(facts(cr)))


def test_the_server_comes_first_and_the_client_once_it_has_an_address() -> None:
    cr = placed()
    first = decide_probe(facts(cr))
    assert names(first) == ["Job/ew-p1-server"]
    server = {"ew-p1-server": running_job("ew-p1-server")}
    waiting = decide_probe(facts(cr, jobs=server))
    assert names(waiting) == []
    ready = decide_probe(facts(cr, jobs=server, pods={"ew-p1-server": a_pod("ew-p1-server")}))
    assert names(ready) == ["ConfigMap/ew-p1-client-config-uid-ew", "Job/ew-p1-client"]
    config = json.loads(ready.create[0]["data"]["config.json"])
    assert config["server_host"] == "198.18.1.9"


def measured(payload: bytes) -> Decision:
    """The decision after the client ended and left `payload`."""
    jobs = {name: running_job(name) for name in ("ew-p1-server", "ew-p1-client")}
    jobs["ew-p1-client"]["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    pods = {"ew-p1-client": a_pod("ew-p1-client", "Succeeded", 0)}
    more = {"jobs": jobs, "pods": pods, "blocks": {"pod-ew-p1-client": {"result": payload}}}
    cr = placed()
    cr = after(cr, decide_probe(facts(cr, **more)))
    return decide_probe(facts(cr, **more))


def test_a_measured_pair_is_stored_and_summed_up() -> None:
    done = measured(a_result())
    assert reason(done, "Succeeded") == "Completed"
    assert done.status["summary"][0]["rttNanosecondsP50"] == 60_000
    assert done.status["rttP99Microseconds"] == 90
    assert [m["kind"] for m in done.create_first] == ["ConfigMap"]
    assert "ew-p1-server" in done.delete_jobs


def test_a_pair_that_could_not_be_measured_fails_the_probe_with_its_words() -> None:
    done = measured(a_result(error="no route to host"))
    assert reason(done, "Succeeded") == "PairsFailed"
    assert "no route to host" in done.status["pairs"][0]["message"]


def test_a_result_of_another_probe_is_not_taken() -> None:
    jobs = {"ew-p1-client": running_job("ew-p1-client")}
    jobs["ew-p1-client"]["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    pods = {"ew-p1-client": a_pod("ew-p1-client", "Succeeded", 0)}
    blocks = {"pod-ew-p1-client": {"result": a_result(uid="somebody")}}
    step = decide_probe(facts(placed(), jobs=jobs, pods=pods, blocks=blocks, log_read=frozenset({"pod-ew-p1-client"})))
    assert step.status["pairs"][0]["state"] == "Failed"


@pytest.mark.parametrize(
    ("nodes", "said"),
    [(None, "NodesForbidden"), ([a_node("node1")], "NotEnoughNodes"), ([a_node("node1"), a_node("node2", unschedulable=True)], "NotEnoughNodes")],
)  # fmt: skip
def test_nodes_that_are_missing_are_named(nodes: list[dict[str, Any]] | None, said: str) -> None:
    assert reason(decide_probe(facts(a_probe(), nodes=nodes)), "Succeeded") == said


def test_two_probes_never_measure_each_other() -> None:
    older, younger = a_probe("a"), a_probe("b")
    younger["metadata"]["creationTimestamp"] = "2030-01-01T00:00:09Z"
    assert reason(decide_probe(facts(younger, others=[older, younger])), "Succeeded") == "Queued"
    assert reason(decide_probe(facts(older, others=[older, younger])), "Admitted") == "Admitted"


TEST = ProbeTest(name="bw", type="Throughput", parallel_streams=2)


def test_the_receivers_rate_is_the_figure() -> None:
    end = {"sum_received": {"bits_per_second": 9.4e9}, "sum_sent": {"bits_per_second": 9.9e9, "retransmits": 3}}
    figure = parse_iperf3(json.dumps({"end": end}), TEST)
    assert (figure.bits_per_second, figure.retransmits, figure.streams) == (9_400_000_000, 3, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing at all"),
        ("iperf3: command not found", "no JSON"),
        ("[]", "no object"),
        ('{"error": "the server is busy running a test"}', "busy"),
        ('{"start": {}, "end": {}}', "nothing arrived"),
        ('{"end": {"sum_received": {"bits_per_second": 0}}}', "nothing arrived"),
    ],
)
def test_what_is_no_figure_is_said(text: str, said: str) -> None:
    with pytest.raises(NoFigure, match=said):
        parse_iperf3(text, TEST)


def test_an_older_probe_that_is_resumed_waits_for_the_one_that_measures() -> None:
    older, younger = a_probe("older"), a_probe("younger")
    older = after(older, decide_probe(facts(older, others=[older])))
    older["spec"]["suspend"] = True
    older = after(older, decide_probe(facts(older)))
    assert "admittedAt" not in older["status"]
    younger["metadata"]["creationTimestamp"] = "2030-01-01T00:01:00Z"
    younger = after(younger, decide_probe(facts(younger, others=[older, younger])))
    assert younger["status"]["admittedAt"]
    older["spec"]["suspend"] = False
    waiting = decide_probe(facts(older, others=[older, younger]))
    assert reason(waiting, "Admitted") == "Queued"
    assert waiting.create == []


def test_a_probe_waits_for_a_load_on_its_nodes() -> None:
    run = {"metadata": {"name": "r", "namespace": "bench", "uid": "u-r", "creationTimestamp": "2030-01-01T00:00:00Z"}, "spec": {},
           "status": {"admittedAt": "2030-01-01T00:00:00Z", "targetNodes": ["node2"], "attempts": []}}  # fmt: skip
    waiting = decide_probe(facts(a_probe(), strangers=[run]))
    assert reason(waiting, "Admitted") == "Queued"
    elsewhere = {**run, "status": {**run["status"], "targetNodes": ["node9"]}}
    assert reason(decide_probe(facts(a_probe(), strangers=[elsewhere])), "Admitted") == "Admitted"


def test_a_probe_whose_job_is_refused_says_one_thing_and_ends() -> None:
    probe = a_probe()
    probe = after(probe, decide_probe(facts(probe)))
    quota = Refusal("Job", "ew-p1-server", "QuotaExceeded", "exceeded quota: jobs", passing=True)
    said = decide_probe(facts(probe, refused=quota))
    assert reason(said, "Succeeded") == "QuotaExceeded"
    again = decide_probe(facts(after(probe, said)))
    assert reason(again, "Succeeded") == "QuotaExceeded", "trying again changes nothing of what is said"
    assert names(again) == ["Job/ew-p1-server"]
    late = decide_probe(facts(after(probe, said), refused=quota, now=NOW + timedelta(seconds=700)))
    assert reason(late, "Finished") == "QuotaExceeded"
    assert "admittedAt" not in late.status


def test_a_probe_that_can_never_be_placed_is_in_nobodys_way() -> None:
    stuck = a_probe("stuck")
    stuck = after(stuck, decide_probe(facts(stuck, nodes=NODES[:1])))
    younger = a_probe("younger")
    younger["metadata"]["creationTimestamp"] = "2030-01-01T00:01:00Z"
    assert reason(decide_probe(facts(younger, others=[stuck, younger])), "Admitted") == "Admitted"
