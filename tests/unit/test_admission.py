"""Who holds a target, what keeps a load from beginning, and what nobody understands: one change, one consequence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.builders import NOW, a_run
from tests.support.runs import (
    a_job,
    a_pod,
    conditions,
    ended_facts,
    facts,
    kinds,
    lost_facts,
    started,
    with_status,
)
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.shared.admission import holds_target, is_settled, place_of
from tokenmark_operator.shared.facts import Refusal
from tokenmark_operator.shared.status import NotUnderstood

# --- who holds a target -----------------------------------------------------------------------------------------------


def suspended_and_ended(name: str = "demo") -> dict[str, Any]:
    """A run that ran, was suspended, and whose pod has ended."""
    cr = a_run(name)
    cr = with_status(cr, decide(facts(cr)))
    cr["spec"]["suspend"] = True
    gone = {**a_pod(job=f"{name}-a1"), "gone": True}
    return with_status(cr, decide(facts(cr, pods={f"{name}-a1": gone})))


def test_an_older_run_that_is_resumed_waits_for_the_younger_that_runs() -> None:
    older = suspended_and_ended("older")
    younger = a_run("younger")
    younger["metadata"]["creationTimestamp"] = "2030-01-01T00:01:00Z"
    younger = with_status(younger, decide(facts(younger, others=[older, younger])))
    assert holds_target(younger, (), NOW)
    older["spec"]["suspend"] = False
    decision = decide(facts(older, others=[older, younger]))
    assert decision.create == []
    assert decision.status["queue"]["blockedBy"] == "bench/younger"
    assert place_of(younger, [older, younger], NOW).position == 1, "and the younger one goes on"


def test_a_pod_of_a_deleted_run_holds_the_target_until_it_is_known_gone_or_its_deadline_has_passed() -> None:
    left = a_pod(job="gone-a1", labels={"tokenmark.dev/uid": "uid-deleted"}, deletionTimestamp="2030-01-01T00:00:00Z")
    left["spec"]["activeDeadlineSeconds"] = 600
    cr = a_run()
    waiting = decide(facts(cr, target_pods=[left]))
    assert waiting.create == []
    assert "was deleted, and it may still run on node node1" in waiting.status["conditions"][1]["message"]
    ended = {**left, "status": {"phase": "Failed"}}
    assert kinds(decide(facts(cr, target_pods=[ended]))) == ["ConfigMap", "Job"]
    later = replace(facts(cr, target_pods=[left]), now=NOW + timedelta(seconds=601))
    assert kinds(decide(later)) == ["ConfigMap", "Job"]


def test_a_member_of_a_team_that_still_runs_holds_the_target_of_a_finished_run() -> None:
    cr, _ = started()
    first = decide(ended_facts(cr))
    done = with_status(cr, decide(ended_facts(with_status(cr, first), stored=first.create_first[0])))
    assert not holds_target(done, (), NOW)
    member = a_pod(labels={"tokenmark.dev/uid": done["metadata"]["uid"]})
    assert holds_target(done, [member], NOW)
    younger = a_run("younger")
    assert decide(facts(younger, others=[done, younger], target_pods=[member])).create == []


def test_a_load_waits_for_a_probe_of_the_targets_node_and_not_for_one_elsewhere() -> None:
    probe = {
        "metadata": {"name": "ew", "namespace": "net", "uid": "u-ew", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {},
        "status": {"admittedAt": "2030-01-01T00:00:00Z",
                   "pairs": [{"index": 1, "state": "Running", "sourceNode": "node1", "targetNode": "node2"}]},
    }  # fmt: skip
    at = facts(a_run(), strangers=[probe], target_nodes=frozenset({"node2"}))
    waiting = decide(at)
    assert waiting.create == []
    assert "NetProbe net/ew measures node node2" in waiting.status["conditions"][1]["message"]
    assert kinds(decide(replace(at, target_nodes=frozenset({"node3"})))) == ["ConfigMap", "Job"]
    over = {**probe, "status": {**probe["status"], "admittedAt": None}}
    assert kinds(decide(replace(at, strangers=[over]))) == ["ConfigMap", "Job"]


def test_a_run_of_an_operator_that_did_not_stamp_yet_holds_its_target() -> None:
    cr, _ = started()
    del cr["status"]["admittedAt"]
    assert holds_target(cr, (), NOW)


# --- what does not begin, and what nobody understands ------------------------------------------------------------------


QUOTA = Refusal(
    "Job", "demo-a1", "QuotaExceeded", "the API server refuses Job demo-a1: exceeded quota: jobs", passing=True
)


def test_a_quota_is_said_in_the_clusters_words_and_the_target_is_free_again_after_a_while() -> None:
    cr, _ = started()
    said = decide(facts(cr, refused=QUOTA))
    found = next(c for c in said.status["conditions"] if c["type"] == "Succeeded")
    assert (found["reason"], "exceeded quota: jobs" in found["message"]) == ("QuotaExceeded", True)
    assert kinds(decide(facts(with_status(cr, said)))) == ["ConfigMap", "Job"], "and it is tried again"
    late = decide(replace(facts(with_status(cr, said), refused=QUOTA), now=NOW + timedelta(seconds=601)))
    assert conditions(late)["Succeeded"] == ("False", "StartupDeadlineExceeded")
    assert "admittedAt" not in late.status


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ({"containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "k" not found'}}}]},
         "ContainerConfigError", 'secret "k" not found'),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling x:1"}}}]},
         "ImagePullFailed", "Back-off pulling x:1"),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]},
         "Unschedulable", "0/2 nodes"),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_running_is_named_and_ends(status: dict[str, Any], reason: str, words: str) -> None:
    cr, _ = started(execution={"startupDeadlineSeconds": 60})
    pod = {**a_pod("Pending"), "status": {"phase": "Pending", **status}}
    said = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": pod}))
    found = next(c for c in said.status["conditions"] if c["type"] == "Succeeded")
    assert (found["reason"], words in found["message"]) == (reason, True)
    at = {"jobs": {"demo-a1": a_job()}, "pods": {"demo-a1": pod}, "now": NOW + timedelta(seconds=61)}
    stopping = decide(facts(with_status(cr, said), **at))
    assert stopping.delete_jobs == ["demo-a1"]
    ended = decide(facts(with_status(cr, stopping), now=NOW + timedelta(seconds=62)))
    assert conditions(ended)["Succeeded"] == ("False", "StartupDeadlineExceeded")
    assert "admittedAt" not in ended.status


def test_a_job_that_gets_no_pod_says_why() -> None:
    cr, _ = started()
    decision = decide(
        facts(cr, jobs={"demo-a1": a_job()}, unmade={"demo-a1": "pods is forbidden: violates PodSecurity"})
    )
    found = next(c for c in decision.status["conditions"] if c["type"] == "Succeeded")
    assert (found["reason"], "violates PodSecurity" in found["message"]) == ("PodNotMade", True)


def test_a_job_that_a_queue_holds_back_waits_and_never_begins_anew() -> None:
    cr, _ = started()
    held = {**a_job(), "spec": {"suspend": True, "activeDeadlineSeconds": 600}}
    for pods in ({}, {"demo-a1": {**a_pod(), "gone": True}}, {"demo-a1": a_pod("Failed", exit_code=143)}):
        at = facts(cr, jobs={"demo-a1": held}, pods=pods, now=NOW + timedelta(hours=5))
        decision = decide(at)
        assert conditions(decision)["Succeeded"] == ("Unknown", "JobSuspended")
        assert (decision.create, decision.delete_jobs) == ([], [])


def test_a_running_job_whose_spec_nobody_understands_is_stopped_before_it_is_let_go() -> None:
    cr, _ = started()
    cr["spec"]["target"]["engine"] = "of the future"
    busy = {"jobs": {"demo-a1": a_job()}, "pods": {"demo-a1": a_pod()}}
    stopping = decide(facts(cr, **busy))
    assert stopping.delete_jobs == ["demo-a1"]
    assert conditions(stopping)["Finished"][0] != "True"
    over = decide(facts(with_status(cr, stopping), pods={"demo-a1": {**a_pod(), "gone": True}}))
    assert conditions(over)["Succeeded"] == ("False", "InvalidSpec")


def test_what_a_newer_operator_wrote_is_kept_and_stops_nothing() -> None:
    cr, _ = started()
    cr["status"] |= {"weather": {"is": "new"}}
    cr["status"]["attempts"][0]["mood"] = "fresh"
    cr["status"]["conditions"].append({"type": "Sunny", "status": "True", "reason": "New", "message": "",
                                       "lastTransitionTime": "2030-01-01T00:00:00Z"})  # fmt: skip
    decision = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()}))
    assert conditions(decision)["Succeeded"] == ("Unknown", "Running")
    assert decision.status["weather"] == {"is": "new"}
    assert [a["number"] for a in decision.status["attempts"]] == [1]


def test_a_time_to_live_that_is_changed_after_the_end_is_observed_by_every_condition() -> None:
    cr, _ = started()
    first = decide(ended_facts(cr))
    done = with_status(cr, decide(ended_facts(with_status(cr, first), stored=first.create_first[0])))
    done["spec"]["ttlSecondsAfterFinished"] = 3600
    done["metadata"]["generation"] = 2
    assert not is_settled(done)
    after = decide(facts(done))
    assert {c["observedGeneration"] for c in after.status["conditions"]} == {2}
    assert is_settled(with_status(done, after))


def test_a_name_that_is_taken_is_found_out_before_the_load() -> None:
    decision = decide(facts(a_run(), name_taken="ConfigMap demo-result"))
    assert conditions(decision)["Succeeded"] == ("False", "NameConflict")
    assert decision.create == []


def test_a_sink_that_refuses_is_named_and_tried_again_and_the_job_stays() -> None:
    cr, _ = started()
    refused = Refusal("ConfigMap", "demo-result", "QuotaExceeded", "exceeded quota: configmaps", passing=True)
    said = decide(ended_facts(cr, refused=refused))
    assert conditions(said)["ResultsStored"] == ("False", "QuotaExceeded")
    assert conditions(said)["Valid"][0] != "Unknown", "what was measured is told at once"
    assert said.status["summary"][0]["stage"] == "c1"
    assert said.status["completionTime"] == "2030-01-01T00:00:00Z"
    assert (said.ttl_jobs, said.delete_jobs) == ([], [])
    again = decide(ended_facts(with_status(cr, said)))
    assert [m["metadata"]["name"] for m in again.create_first] == ["demo-result"]
    much_later = replace(ended_facts(with_status(cr, said), refused=refused), now=NOW + timedelta(hours=2))
    assert conditions(decide(much_later))["Succeeded"] == ("False", "ResultsNotStored")


# --- what a review found ------------------------------------------------------------------------------------------------


def test_what_became_of_an_attempt_is_never_guessed() -> None:
    cr, _ = started()
    cr["status"]["attempts"][0]["state"] = "Draining"
    with pytest.raises(NotUnderstood, match="newer operator"):
        decide(facts(cr))
    cr, _ = started()
    cr["status"]["conditions"][0]["status"] = "Perhaps"
    cr["status"]["summary"] = [{"mood": "new"}]
    decision = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()}))
    assert [a["number"] for a in decision.status["attempts"]] == [1]
    assert decision.create == []


def test_a_job_that_a_queue_has_just_let_go_has_all_of_its_time() -> None:
    cr, _ = started()
    let_go = a_job("demo-a1", {"type": "Suspended", "status": "True"})
    decision = decide(facts(cr, jobs={"demo-a1": let_go}, now=NOW + timedelta(hours=5)))
    assert decision.delete_jobs == []


def test_a_run_that_is_suspended_while_it_waits_for_a_lost_node_lets_go_once_that_is_over() -> None:
    cr, _ = started()
    cr = with_status(cr, decide(lost_facts(cr)))
    cr["spec"]["suspend"] = True
    waiting = decide(lost_facts(cr, 70))
    assert waiting.status["admittedAt"]
    assert waiting.requeue_s is not None
    over = decide(replace(facts(with_status(cr, waiting)), now=NOW + timedelta(seconds=900)))
    assert "admittedAt" not in over.status


def test_a_run_that_is_resumed_before_its_pod_has_ended_is_stopped_first_and_begins_anew() -> None:
    cr, _ = started()
    cr = with_status(cr, decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()})))
    cr["spec"]["suspend"] = True
    stopping = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()}))
    cr = with_status(cr, stopping)
    cr["spec"]["suspend"] = False
    still = decide(facts(cr, pods={"demo-a1": a_pod()}))
    assert (still.create, still.status["attempts"][0]["state"]) == ([], "Running")
    ended = decide(facts(with_status(cr, still), pods={"demo-a1": {**a_pod(), "gone": True}}))
    assert ended.status["attempts"][0]["state"] == "Failed"
    assert ended.requeue_s == 0.0
    again = decide(facts(with_status(cr, ended)))
    assert [a["number"] for a in again.status["attempts"]] == [1, 2]


def test_a_job_that_cannot_be_made_is_given_up_whatever_keeps_it() -> None:
    cr, _ = started()
    late = decide(facts(cr, now=NOW + timedelta(seconds=601)))
    assert conditions(late)["Succeeded"] == ("False", "StartupDeadlineExceeded")
    assert late.create == []


def test_a_pod_on_a_dead_node_holds_no_longer_than_its_own_deadline() -> None:
    cr, _ = started()
    cr["spec"]["suspend"] = True
    pod = a_pod(deletionTimestamp="2030-01-01T00:00:00Z")
    pod["spec"]["activeDeadlineSeconds"] = 300
    first = decide(facts(cr, pods={"demo-a1": pod}))
    assert first.status["admittedAt"]
    assert (
        "admittedAt"
        not in decide(facts(with_status(cr, first), pods={"demo-a1": pod}, now=NOW + timedelta(seconds=301))).status
    )


def test_a_run_whose_pod_was_lost_under_an_older_operator_holds_its_target() -> None:
    cr, _ = started()
    cr = with_status(cr, decide(lost_facts(cr)))
    del cr["status"]["admittedAt"]
    assert holds_target(cr, (), NOW)


def test_a_run_whose_result_cannot_be_stored_lets_the_next_one_go() -> None:
    cr, _ = started()
    refused = Refusal("ConfigMap", "demo-result", "QuotaExceeded", "exceeded quota: configmaps", passing=True)
    cr = with_status(cr, decide(ended_facts(cr, refused=refused)))
    assert not holds_target(cr, (), NOW)
    assert kinds(decide(facts(a_run("younger"), others=[cr]))) == ["ConfigMap", "Job"]
