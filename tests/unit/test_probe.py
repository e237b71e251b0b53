"""A probe's life from facts: who may measure now, what is refused, what is stopped."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from tests.support.builders import NOW
from tests.support.probes import (
    NODES,
    SETTINGS,
    a_node,
    a_probe,
    after,
    ended,
    facts,
    jobs,
    names,
    packed,
    placed,
    reason,
)
from tokenmark_operator.kinds.netprobe import decide_probe
from tokenmark_operator.shared.facts import Refusal


def test_the_hosts_network_is_the_administrators_word() -> None:
    tests = [{"name": "host", "type": "TCPLatency", "path": "NodeToNode"}]
    assert reason(decide_probe(facts(a_probe(tests=tests))), "Accepted") == "HostNetworkForbidden"
    allowed = dataclasses.replace(SETTINGS, host_network=True)
    cr = after(a_probe(tests=tests), decide_probe(facts(a_probe(tests=tests), settings=allowed)))
    (job,) = decide_probe(facts(cr, settings=allowed)).create
    assert job["spec"]["template"]["spec"]["hostNetwork"] is True


def test_a_refusal_that_lasts_costs_no_pair_that_was_measured() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    cr = after(cr, decide_probe(facts(**ended(cr, 1, packed(target_node="node1")))))
    quota = Refusal("Job", "ew-p2-server", "QuotaExceeded", "exceeded quota: jobs", passing=True)
    cr = after(cr, decide_probe(facts(cr, refused=quota)))
    since = cr["status"]["refusedSince"]
    cr = after(cr, decide_probe(facts(cr)))
    assert cr["status"]["refusedSince"] == since, "trying again is no success"
    assert next(c for c in cr["status"]["conditions"] if c["type"] == "Succeeded")["reason"] == "QuotaExceeded"
    late = decide_probe(facts(cr, refused=quota, now=NOW + timedelta(seconds=700)))
    assert [pair["state"] for pair in late.status["pairs"]] == ["Completed", "Failed"]
    end = decide_probe(facts(after(cr, late), visit_results={1: packed(target_node="node1")}, visits_read=True))
    assert reason(end, "Succeeded") == "PairsFailed"
    assert reason(end, "ResultsStored") == "Stored"


def test_a_suspended_probe_keeps_what_it_measured() -> None:
    cr = placed()
    cr = after(cr, decide_probe(facts(cr)))
    cr = after(cr, decide_probe(facts(**ended(cr, 1, packed(target_node="node1")))))
    cr["spec"]["suspend"] = True
    known = {**jobs("ew-p1-client", over=True), **jobs("ew-p2-server", "ew-p2-client")}
    cr["status"]["pairs"][1]["state"] = "Running"
    step = decide_probe(facts(cr, jobs=known))
    assert sorted(step.delete_jobs) == ["ew-p2-client", "ew-p2-server"]
    assert [pair["state"] for pair in step.status["pairs"]] == ["Completed", "Pending"]


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
