"""A probe's visits: its agents, rounds, what is kept of each, and what all of them come to."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import timedelta

from tests.support.builders import NOW
from tests.support.probes import (
    a_node,
    a_pod,
    a_probe,
    a_probe_result,
    after,
    ended,
    facts,
    jobs,
    names,
    packed,
    placed,
    reason,
    through,
)
from tokenmark_operator.kinds.netprobe import decide_probe
from tokenmark_operator.results.probe_results import summarised
from tokenmark_schemas.probe_result import EastWest
from tokenmark_schemas.probe_status import PairStatus


def test_the_server_comes_first_and_the_client_once_it_answers() -> None:
    cr = placed()
    first = decide_probe(facts(cr))
    assert names(first) == ["Job/ew-p1-server"]
    server = jobs("ew-p1-server")
    assert names(decide_probe(facts(cr, jobs=server))) == []
    starting = a_pod("ew-p1-server")
    starting["status"]["conditions"][0]["status"] = "False"
    assert names(decide_probe(facts(cr, jobs=server, pods={"ew-p1-server": starting}))) == []
    ready = decide_probe(facts(cr, jobs=server, pods={"ew-p1-server": a_pod("ew-p1-server")}))
    assert names(ready) == ["ConfigMap/ew-p1-client-config-uid-ew-ew-p1-se", "Job/ew-p1-client"]
    config = json.loads(ready.create[0]["data"]["config.json"])
    assert config["server_host"] == "198.18.1.9"


def test_a_service_of_its_own_stands_before_a_server_where_a_test_goes_through_one() -> None:
    cr = placed(tests=[{"name": "svc", "type": "TCPConnect", "path": "PodToService"}])
    service, job = decide_probe(facts(cr)).create
    assert (service["kind"], service["metadata"]["name"]) == ("Service", "np-ew-p1-server")
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    ready = decide_probe(facts(cr, jobs=jobs("ew-p1-server"), pods={"ew-p1-server": a_pod("ew-p1-server")}))
    assert json.loads(ready.create[0]["data"]["config.json"])["service_host"] == "np-ew-p1-server.bench.svc"


def test_a_visit_is_kept_before_it_counts_as_done_and_its_server_goes() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    step = decide_probe(facts(**ended(cr, 1, packed(target_node="node1"))))
    (kept,) = step.create_first
    assert kept["metadata"]["name"] == "ew-p1-uid-ew-pair"
    assert kept["metadata"]["ownerReferences"][0]["name"] == "ew-p1-client"
    assert step.status["pairs"][0]["state"] == "Completed"
    assert step.status["pairsProgress"] == "1/2"
    assert "ew-p1-server" in step.delete_jobs


def test_all_visits_are_stored_together_and_summed_up() -> None:
    done = through(placed(), packed(target_node="node1", p50_ns=10_000), packed())
    assert reason(done, "Succeeded") == "Completed"
    assert reason(done, "Valid") == "Valid"
    assert [row["rttNanosecondsP50"] for row in done.status["summary"]] == [10_000, 60_000]
    assert done.status["rttP99Microseconds"] == 90, "of the pair that crosses nodes, not of the floor"
    assert [m["metadata"]["name"] for m in done.create_first] == ["ew-nprobe-result"]
    payload = gzip.decompress(base64.b64decode(done.create_first[0]["binaryData"]["result.json.gz"]))
    document = EastWest.model_validate_json(payload)
    assert (document.measured, document.pairs_of, len(document.pairs)) == (1, 1, 2)


def test_a_pair_that_could_not_be_measured_fails_the_probe_with_its_words_and_the_others_are_kept() -> None:
    done = through(placed(), packed(target_node="node1"), packed(error="no route to host"))
    assert reason(done, "Succeeded") == "PairsFailed"
    assert "no route to host" in done.status["pairs"][1]["message"]
    assert len(done.status["summary"]) == 1


def test_agents_that_are_kept_apart_are_named_so() -> None:
    apart = (
        "no answer from the agent at 198.18.1.9:5203 within 60 s (timed out); does a NetworkPolicy keep the two apart?"
    )
    done = through(placed(), packed(target_node="node1", error=apart), packed(error=apart))
    assert reason(done, "Succeeded") == "PeerUnreachable"


def test_a_result_of_another_probe_is_not_taken() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    step = decide_probe(facts(**ended(cr, 1, packed(uid="somebody"))))
    assert step.status["pairs"][0]["state"] == "Failed"


def test_an_agent_that_never_answers_is_not_waited_for_without_end() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    starting = a_pod("ew-p1-server", "Pending")
    late = facts(cr, jobs=jobs("ew-p1-server", age_s=700), pods={"ew-p1-server": starting})
    step = decide_probe(late)
    assert step.status["pairs"][0]["state"] == "Failed"
    assert "StartupDeadlineExceeded" in step.status["pairs"][0]["message"]


def test_a_client_that_was_killed_before_it_measured_fails_its_visit_with_what_took_it() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    nothing = a_probe_result(measurements=[]).model_copy(
        update={"tests": ["rtt"], "repetitions": 6, "interrupted": True}
    )
    known = ended(cr, 1, gzip.compress(nothing.model_dump_json().encode()))
    known["jobs"]["ew-p1-client"]["status"]["conditions"] = [
        {"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}
    ]
    known["pods"]["ew-p1-client"] = {**a_pod("ew-p1-client", "Failed", 143), "gone": True}
    step = decide_probe(facts(**known))
    assert step.status["pairs"][0]["state"] == "Failed"
    assert "rtt: it was not measured" in step.status["pairs"][0]["message"]


def test_the_log_of_a_lost_node_is_not_waited_for() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    known = ended(cr, 1, None)
    known["jobs"]["ew-p1-client"]["status"]["conditions"] = []
    known["log_read"] = frozenset()
    lost = a_pod("ew-p1-client")
    lost["metadata"]["deletionTimestamp"] = (NOW - timedelta(seconds=60)).isoformat()
    known["pods"]["ew-p1-client"] = lost
    step = decide_probe(facts(**known))
    assert "NodeLost" in step.status["pairs"][0]["message"]


def test_a_visit_that_is_made_again_is_judged_by_its_own_pods() -> None:
    """Pods of earlier Jobs of the same names are remembered until the probe is over."""
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    stale = a_pod("ew-p1-client", "Succeeded", 0)
    stale["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = "an-earlier-one"
    known = {**jobs("ew-p1-server"), **jobs("ew-p1-client")}
    left = {"pod-ew-p1-client": {"result": packed(target_node="node1")}}
    step = decide_probe(facts(cr, jobs=known, pods={"ew-p1-client": stale}, blocks=left))
    assert step.status["pairs"][0]["state"] == "Running"
    gone = {"ew-p1-server": {**stale, "gone": True}}
    assert names(decide_probe(facts(cr, jobs=jobs("ew-p1-server"), pods=gone))) == []


def test_what_a_step_kept_before_it_was_cut_off_counts() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    taken = {**a_pod("ew-p1-client", "Failed", 143), "gone": True}
    known = {**jobs("ew-p1-server"), **jobs("ew-p1-client")}
    kept = {1: packed(target_node="node1")}
    step = decide_probe(facts(cr, jobs=known, pods={"ew-p1-client": taken}, visit_results=kept))
    assert step.status["pairs"][0]["state"] == "Completed"
    assert step.create_first == []


def test_a_visit_whose_result_is_gone_does_not_count_as_measured() -> None:
    done = through(placed(), packed(target_node="node1"), packed())
    cr = placed()
    cr["status"]["pairs"] = [{**pair, "state": "Completed"} for pair in cr["status"]["pairs"]]
    lost = decide_probe(facts(cr, visit_results={1: packed(target_node="node1")}, visits_read=True))
    assert reason(done, "Succeeded") == "Completed"
    assert reason(lost, "Succeeded") == "PairsFailed"
    assert "cannot be read any more" in lost.status["pairs"][1]["message"]


def test_what_is_said_of_a_stored_result_is_what_was_stored() -> None:
    cr = placed()
    cr["status"]["pairs"] = [{**pair, "state": "Completed"} for pair in cr["status"]["pairs"]]
    both = {"visit_results": {1: packed(target_node="node1"), 2: packed()}, "visits_read": True}
    first = decide_probe(facts(cr, **both))
    again = decide_probe(facts(cr, stored=first.create_first[0], now=NOW + timedelta(seconds=9), **both))
    assert again.create_first == []
    assert again.status["artifacts"] == first.status["artifacts"]


def test_the_worst_pair_is_found_among_more_than_a_status_holds() -> None:
    visits = [
        PairStatus(index=i, round=1, source_node=f"s{i}", target_node=f"t{i}", state="Completed") for i in range(1, 301)
    ]
    found = [(v, a_probe_result(p50_ns=9_000_000 if v.index == 300 else 60_000)) for v in visits]
    said = summarised(found)
    assert said["rttP99Microseconds"] == 13_500
    assert (len(said["summary"]), said["summaryOf"]) == (256, 300)
    assert said["summary"][-1]["sourceNode"] == "s300"


def test_an_objective_is_met_only_where_every_pair_has_the_figure() -> None:
    limit = {"metric": "rtt", "statistic": "p50", "maxMicroseconds": 100}
    cr = placed(objectives=[limit])
    cr["status"]["pairs"] = [
        {**pair, "state": "Failed" if pair["index"] == 2 else "Completed"} for pair in cr["status"]["pairs"]
    ]
    step = decide_probe(facts(cr, visit_results={1: packed(target_node="node3")}, visits_read=True))
    assert step.status["objectives"][0]["met"] == "Unknown"


def test_what_a_newer_operator_wrote_of_a_visit_stays() -> None:
    cr = placed()
    cr["status"]["pairs"][1]["nextMember"] = 7
    cr = after(cr, decide_probe(facts(cr)))
    assert cr["status"]["pairs"][1]["nextMember"] == 7


def test_pairs_of_one_round_run_side_by_side_and_a_round_waits_for_the_one_before() -> None:
    nodes = [a_node(f"node{i}") for i in range(4)]
    spec = {"placement": {"topology": "Mesh"}, "pairs": {"maxConcurrent": 4}}
    cr = a_probe(**spec)
    cr = after(cr, decide_probe(facts(cr, nodes=nodes)))
    floor = decide_probe(facts(cr, nodes=nodes))
    assert names(floor) == ["Job/ew-p1-server"]
    cr = after(cr, decide_probe(facts(**{**ended(after(cr, floor), 1, packed(target_node="node1")), "nodes": nodes})))
    step = decide_probe(facts(cr, nodes=nodes))
    assert names(step) == ["Job/ew-p2-server", "Job/ew-p3-server"]
    running = [p for p in step.status["pairs"] if p["state"] == "Running"]
    assert len({node for p in running for node in (p["sourceNode"], p["targetNode"])}) == 4


def test_an_objective_is_judged_by_the_worst_pair_and_may_fail_the_probe() -> None:
    for limit, on_violation, expected in ((100, "Report", "AllMet"), (80, "Report", "ObjectiveViolated"), (80, "Fail", "ObjectiveViolated")):  # fmt: skip
        objective = {"metric": "rtt", "statistic": "p99", "maxMicroseconds": limit, "onViolation": on_violation}
        done = through(placed(objectives=[objective]), packed(target_node="node1"), packed())
        assert reason(done, "ObjectivesMet") == expected
        assert reason(done, "Succeeded") == ("ObjectiveViolated" if on_violation == "Fail" else "Completed")
    assert done.status["objectives"][0]["worst"] == 90_000
