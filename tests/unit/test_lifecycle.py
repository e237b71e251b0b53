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
from tests.support.runs import (
    a_job,
    a_pod,
    conditions,
    ended_facts,
    evicted,
    facts,
    kinds,
    lost_facts,
    started,
    with_status,
)
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.shared.admission import group_of, is_settled, place_of


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
        pytest.param({"retrieval": {"k": 3}}, "spec.retrieval", id="retrieval"),
        pytest.param({"results": {"sinks": [{"name": "f", "objectStore": {"uri": "file:///f"}}]}}, "objectStore.uri", id="folder of a pod"),
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


def test_a_service_with_nothing_ready_behind_it_is_waited_for_and_then_given_up() -> None:
    cr = a_run()
    known = {"target_exists": True, "target_unready": "pod vllm-0 behind it is not ready"}
    waiting = decide(facts(cr, **known))
    assert conditions(waiting)["Succeeded"] == ("Unknown", "Preflight")
    assert waiting.create == []
    later = NOW + timedelta(seconds=601)
    assert conditions(decide(replace(facts(with_status(cr, waiting), **known), now=later)))["Succeeded"] == (
        "False",
        "TargetNotReady",
    )
    ready = decide(facts(with_status(cr, waiting), target_exists=True))
    assert [manifest["kind"] for manifest in ready.create] == ["ConfigMap", "Job"]
    assert "targetMissingSince" not in ready.status


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
