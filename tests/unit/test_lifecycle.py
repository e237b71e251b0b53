"""A run's life, decided from facts: one change of the facts, one consequence."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.builders import NOW, a_run
from tests.support.results import a_result
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.settings import Settings
from tokenmark_operator.shared.admission import group_of, holds_target, is_settled, place_of
from tokenmark_operator.shared.facts import Decision, Refusal, RunFacts
from tokenmark_operator.shared.status import NotUnderstood
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


def test_a_healthy_run_records_its_intent_and_gets_config_and_job() -> None:
    _, decision = started()
    assert kinds(decision) == ["ConfigMap", "Job"]
    assert decision.status["attempts"][0]["state"] == "Creating"
    assert conditions(decision)["Admitted"] == ("True", "Admitted")
    assert decision.status["environment"]["provider"] == "azure"
    config = json.loads(decision.create[0]["data"]["config.json"])
    assert config["target"]["url"] == "http://vllm.bench.svc:8000"
    pod = decision.create[1]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_life_that_was_cut_off_before_the_job_makes_the_same_job() -> None:
    cr, first = started()
    again = decide(facts(cr))
    assert again.create == first.create
    assert len(again.status["attempts"]) == 1


def test_a_job_that_was_seen_and_is_gone_was_deleted_by_somebody() -> None:
    cr, _ = started()
    seen = with_status(cr, decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()})))
    decision = decide(facts(seen))
    assert conditions(decision)["Succeeded"] == ("False", "JobDeleted")
    assert decision.create == []


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        pytest.param({"cost": {"configMap": {"name": "p"}}}, "spec.cost", id="cost"),
        pytest.param({"baselineRef": {"name": "b"}}, "spec.baselineRef", id="baseline"),
        pytest.param({"results": {"sinks": [{"name": "s3", "objectStore": {"uri": "s3://b"}}]}}, "objectStore", id="object store"),
    ],
)  # fmt: skip
def test_what_is_not_supported_yet_is_refused_by_name(spec: dict[str, Any], names: str) -> None:
    decision = decide(facts(a_run(**spec)))
    accepted = next(c for c in decision.status["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "NotSupportedYet")
    assert names in accepted["message"]
    assert conditions(decision)["Finished"][0] == "True"
    assert decision.create == []


def test_an_image_outside_the_allow_list_is_forbidden() -> None:
    assert conditions(decide(facts(a_run(execution={"image": "evil:1"}))))["Accepted"] == ("False", "Forbidden")


def test_the_younger_of_two_runs_waits() -> None:
    older, younger = a_run("older"), a_run("younger")
    younger["metadata"]["creationTimestamp"] = "2030-01-01T00:00:05Z"
    decision = decide(facts(younger, others=[older, younger]))
    assert decision.status["queue"] == {"position": 2, "blockedBy": "bench/older"}
    assert decision.create == []


def test_a_started_run_is_never_overtaken() -> None:
    late, _ = started()
    late["metadata"]["creationTimestamp"] = "2030-01-01T09:00:00Z"
    early = a_run("early")
    assert decide(facts(early, others=[late, early])).status["queue"]["blockedBy"] == "bench/demo"


def test_a_missing_service_is_waited_for_and_then_given_up() -> None:
    cr = a_run()
    waiting = decide(facts(cr, target_exists=False))
    assert conditions(waiting)["Succeeded"] == ("Unknown", "WaitingForTarget")
    later = replace(facts(with_status(cr, waiting), target_exists=False), now=NOW + timedelta(seconds=601))
    assert conditions(decide(later))["Succeeded"] == ("False", "TargetNotFound")


def evicted() -> dict[str, Any]:
    pod = a_pod("Failed", exit_code=143)
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    return pod


def test_an_eviction_is_followed_by_another_attempt_and_then_no_more() -> None:
    cr, _ = started()
    first = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": evicted()}))
    assert [a["state"] for a in first.status["attempts"]] == ["Disrupted"]
    cr = with_status(cr, first)
    second = decide(facts(cr, pods={"demo-a1": {**evicted(), "gone": True}}))
    assert [a["number"] for a in second.status["attempts"]] == [1, 2]
    cr = with_status(cr, second)
    pod = {**evicted(), "metadata": {"name": "p", "uid": "pod-2"}}
    last = decide(facts(cr, jobs={"demo-a2": a_job("demo-a2")}, pods={"demo-a2": pod}))
    assert conditions(last)["Succeeded"] == ("False", "Evicted")


def lost_facts(cr: dict[str, Any], seconds_after: int = 60) -> RunFacts:
    pod = a_pod(deletionTimestamp="2030-01-01T00:00:00Z")
    at = facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": pod})
    return replace(at, now=NOW + timedelta(seconds=seconds_after))


def test_a_lost_node_blocks_the_target_until_the_old_load_is_known_gone() -> None:
    cr, _ = started()
    lost = decide(lost_facts(cr))
    assert lost.status["attempts"][0]["reason"] == "NodeLost"
    cr = with_status(cr, lost)
    waiting = decide(lost_facts(cr, 70))
    assert conditions(waiting)["Admitted"] == ("False", "WaitingForLostNode")
    assert waiting.create == []
    other = a_run("other")
    assert decide(replace(facts(other, others=[cr, other]), now=NOW + timedelta(seconds=70))).create == []
    back = decide(replace(facts(cr, pods={"demo-a1": a_pod("Failed", exit_code=143)}), now=NOW + timedelta(seconds=90)))
    assert kinds(back) == ["ConfigMap", "Job"]
    timed_out = decide(lost_facts(cr, 900))
    assert kinds(timed_out) == ["ConfigMap", "Job"]


def test_pods_of_a_team_get_a_place_to_meet_which_goes_with_the_attempt() -> None:
    cr, decision = started(execution={"workers": 2})
    assert kinds(decision) == ["ConfigMap", "Service", "Job"]
    running = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()}))
    assert running.delete_services == []
    over = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": evicted()}))
    assert over.delete_services == ["team-demo-a1"]
    again = decide(facts(with_status(cr, over), pods={"demo-a1": {**evicted(), "gone": True}}))
    assert again.delete_services == []
    assert [m["metadata"]["name"] for m in again.create if m["kind"] == "Service"] == ["team-demo-a2"]


def test_a_run_of_one_pod_needs_no_place_to_meet() -> None:
    cr, decision = started()
    assert "Service" not in kinds(decision)
    over = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": evicted()}))
    assert over.delete_services == []


def test_a_pod_of_a_team_that_may_still_load_the_target_is_waited_for() -> None:
    cr, _ = started(execution={"workers": 2})
    said = '{"outcome": "interrupted", "exit_code": 5, "message": "lost", "lost_pod": 1}'
    label = {"batch.kubernetes.io/job-completion-index": "1"}
    at = facts(
        cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod("Failed", exit_code=5, message=said)},
        team={"demo-a1": [a_pod(labels=label)]},
    )  # fmt: skip
    assert conditions(decide(at))["Succeeded"] == ("Unknown", "Collecting"), "the leading pod's log comes first"
    at = replace(at, log_read=frozenset({"pod-demo-a1"}))
    lost = decide(at)
    attempt = lost.status["attempts"][0]
    assert (attempt["reason"], attempt["loadEndsBy"]) == ("PodLost", "2030-01-01T00:10:00Z")
    assert conditions(decide(replace(at, cr=with_status(cr, lost))))["Admitted"] == ("False", "WaitingForLostNode")


def ended_facts(cr: dict[str, Any], **changes: Any) -> RunFacts:
    payload = gzip.compress(json.dumps(a_result(uid=cr["metadata"]["uid"]).snake()).encode())
    pod = a_pod("Succeeded", exit_code=0)
    blocks = {"pod-demo-a1": {"result": payload, "requests": b"rows"}}
    return facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": pod}, blocks=blocks, **changes)


def test_results_are_stored_before_the_status_says_so() -> None:
    cr, _ = started()
    first = decide(ended_facts(cr))
    assert [m["metadata"]["name"] for m in first.create_first] == ["demo-result"]
    assert conditions(first)["Finished"][0] != "True"
    then = decide(ended_facts(with_status(cr, first), stored=first.create_first[0]))
    assert conditions(then)["ResultsStored"] == ("True", "Stored")
    assert conditions(then)["Succeeded"] == ("True", "Completed")
    assert then.status["summary"][0]["stage"] == "c1"


def test_a_result_of_another_run_is_not_taken() -> None:
    cr, _ = started()
    payload = gzip.compress(json.dumps(a_result(uid="somebody-else").snake()).encode())
    at = replace(ended_facts(cr), blocks={"pod-demo-a1": {"result": payload}}, log_read=frozenset({"pod-demo-a1"}))
    assert conditions(decide(at))["Succeeded"] == ("False", "ResultsLost")


def test_a_log_that_cannot_be_read_loses_the_result_and_keeps_the_message() -> None:
    cr, _ = started()
    message = '{"schema_version":"termination/v1","outcome":"completed","exit_code":0,"verdict":"valid"}'
    pod = a_pod("Succeeded", exit_code=0, message=message)
    at = facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": pod}, log_read=frozenset({"pod-demo-a1"}))
    decision = decide(at)
    lost = next(c for c in decision.status["conditions"] if c["type"] == "ResultsStored")
    assert lost["reason"] == "ResultsLost"
    assert '"verdict":"valid"' in lost["message"]


@pytest.mark.parametrize(
    ("code", "reason"), [(2, "InvalidInput"), (5, "TargetFailed"), (1, "RunnerError"), (137, "RunnerError")]
)
def test_an_exit_code_says_what_went_wrong(code: int, reason: str) -> None:
    cr, _ = started()
    at = facts(
        cr,
        jobs={"demo-a1": a_job()},
        pods={"demo-a1": a_pod("Failed", exit_code=code)},
        log_read=frozenset({"pod-demo-a1"}),
    )
    assert conditions(decide(at))["Succeeded"] == ("False", reason)


def test_suspending_ends_the_attempt_once_its_pod_has_ended() -> None:
    cr, _ = started()
    cr["spec"]["suspend"] = True
    first = decide(facts(cr, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()}))
    assert first.delete_jobs == ["demo-a1"]
    assert first.status["attempts"][0]["state"] == "Creating"
    loading = with_status(cr, first)
    assert not is_settled(loading)
    younger = a_run("younger")
    younger["metadata"]["creationTimestamp"] = "2030-01-01T00:01:00Z"
    assert place_of(younger, [loading, younger], NOW).position == 2
    cut_off = decide(facts(loading, jobs={"demo-a1": a_job()}, pods={"demo-a1": a_pod()}))
    assert cut_off.delete_jobs == ["demo-a1"]
    last = decide(facts(loading, pods={"demo-a1": {**a_pod(), "gone": True}}))
    assert last.status["attempts"][0]["reason"] == "Suspended"
    assert place_of(younger, [with_status(cr, last), younger], NOW).position == 1


def test_a_workload_that_vanishes_while_the_load_runs_changes_nothing() -> None:
    cr, _ = started()
    busy = {"jobs": {"demo-a1": a_job()}, "pods": {"demo-a1": a_pod()}}
    decision = decide(facts(cr, workload="ConfigMap w does not exist", **busy))
    assert conditions(decision)["Succeeded"] == ("Unknown", "Running")


@pytest.mark.parametrize(
    ("code", "reason"), [(137, "RunnerError"), (5, "TargetFailed"), (1, "RunnerError"), (0, "ResultsLost")]
)
def test_an_earlier_repetitions_result_makes_no_complete_run(code: int, reason: str) -> None:
    cr, _ = started()
    whole = a_result()
    part = whole.model_copy(update={"run": whole.run.model_copy(update={"interrupted": True})})
    blocks = {"partial-0": gzip.compress(json.dumps(part.snake()).encode())}
    end = a_job("demo-a1", {"type": "Complete" if code == 0 else "Failed", "status": "True", "reason": "x"})
    pod = a_pod("Succeeded" if code == 0 else "Failed", exit_code=code)
    uid = pod["metadata"]["uid"]
    seen = {"jobs": {"demo-a1": end}, "pods": {"demo-a1": pod}, "blocks": {uid: blocks}, "log_read": frozenset({uid})}
    first = decide(facts(cr, **seen))
    second = decide(facts(with_status(cr, first), stored=first.create_first[0], **seen))
    assert conditions(second)["Succeeded"] == ("False", reason)
    assert conditions(second)["ResultsStored"][0] == "True"


def test_a_queued_run_has_all_of_the_wait_for_its_target() -> None:
    older, cr = a_run("older"), a_run()
    cr["metadata"]["creationTimestamp"] = "2030-01-01T00:01:00Z"
    queued = with_status(cr, decide(facts(cr, others=[older, cr])))
    later = {"now": NOW + timedelta(minutes=20), "target_exists": False}
    waiting = decide(facts(queued, others=[queued], **later))
    assert conditions(waiting)["Succeeded"] == ("Unknown", "WaitingForTarget")
    soon = {"now": NOW + timedelta(minutes=20, seconds=30), "target_exists": False}
    assert conditions(decide(facts(with_status(cr, waiting), **soon)))["Succeeded"][0] == "Unknown"


@pytest.mark.parametrize(
    "url",
    [
        "http://vllm:8000",
        "http://vllm.bench:8000",
        "http://vllm.bench.svc:8000/v1",
        "http://VLLM.bench.svc.cluster.local:8000/",
    ],
)
def test_one_server_by_any_of_its_names_is_one_group(url: str) -> None:
    by_service = a_run()
    by_url = a_run("other", target={"model": "m", "endpoint": {"url": url}})
    assert group_of(by_service) == group_of(by_url)
    assert group_of(a_run("x", target={"model": "m", "endpoint": {"url": "http://elsewhere:8000"}})) != group_of(by_url)


def test_a_finished_run_sets_the_jobs_time_to_live_and_its_own() -> None:
    cr, _ = started(ttlSecondsAfterFinished=60)
    first = decide(ended_facts(cr))
    cr = with_status(cr, decide(ended_facts(with_status(cr, first), stored=first.create_first[0])))
    after = decide(facts(cr, jobs={"demo-a1": a_job()}))
    assert after.ttl_jobs == ["demo-a1"]
    assert not after.delete_self
    assert decide(replace(facts(cr), now=NOW + timedelta(seconds=61))).delete_self


def test_deciding_twice_from_the_same_facts_says_the_same() -> None:
    cr, first = started()
    assert decide(facts(cr)).status == decide(facts(cr)).status
    assert decide(facts(a_run())).status == first.status


def test_a_resync_visits_only_what_a_visit_could_change() -> None:
    cr = a_run(suspend=True)
    assert not is_settled(cr)
    held = with_status(cr, decide(facts(cr)))
    assert is_settled(held)
    assert not is_settled({**held, "spec": {**held["spec"], "suspend": False}})
    assert not is_settled({**held, "metadata": {**held["metadata"], "generation": 2}})


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
    assert "its run was deleted and it may still run on node node1" in waiting.status["conditions"][1]["message"]
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
