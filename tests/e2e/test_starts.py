"""What keeps a run from beginning or from going on: each is said within seconds, in the cluster's words, and lets go in the end."""

from __future__ import annotations

import json

from tests.support.lab import Lab, condition, long_stage, run_object


def _said(lab: Lab, name: str, reason: str, words: str) -> None:
    """Within 30 seconds the run says what is in its way, in the cluster's words."""
    run = lab.reason(name, reason, timeout_s=30)
    assert words in condition(run, "Succeeded")["message"], condition(run, "Succeeded")


def test_a_missing_secret_an_image_and_a_place_are_named_and_the_target_is_free_again(lab: Lab) -> None:
    lab.simulator()
    target = {"model": "sim", "serviceRef": {"name": "sim", "port": 8000}}
    short = {"startupDeadlineSeconds": 30, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
    lab.apply(
        run_object(
            "secretless", target={**target, "authSecretRef": {"name": "nobody", "key": "token"}}, execution=short
        )
    )
    _said(lab, "secretless", "ContainerConfigError", 'secret "nobody" not found')
    lab.apply(run_object("next"))
    ended = lab.finished("secretless", timeout_s=60)
    assert condition(ended, "Succeeded")["reason"] == "StartupDeadlineExceeded"
    assert condition(lab.finished("next"), "Succeeded")["reason"] == "Completed"
    nowhere = {**short, "nodeSelector": {"no": "where"}}
    lab.apply(run_object("nowhere", execution=nowhere))
    _said(lab, "nowhere", "Unschedulable", "didn't match Pod's node affinity/selector")
    lab.delete("brun", "nowhere")


def test_a_quota_is_named_and_lifted_it_goes_on(lab: Lab) -> None:
    lab.simulator()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    lab.apply(quota)
    lab.until("the quota is enforced", lambda: "hard" in (lab.get("resourcequota", "few") or {}).get("status", {}), 30)
    lab.apply(run_object("bounded"))
    _said(lab, "bounded", "QuotaExceeded", "exceeded quota: few")
    lab.delete("resourcequota", "few")
    assert condition(lab.finished("bounded"), "Succeeded")["reason"] == "Completed"


def test_pods_that_may_not_be_made_are_named(lab: Lab) -> None:
    lab.simulator()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "nopods"},
        "spec": {"hard": {"pods": "1"}},
    }
    lab.apply(quota)
    lab.until(
        "the quota is enforced", lambda: "used" in (lab.get("resourcequota", "nopods") or {}).get("status", {}), 30
    )
    lab.apply(run_object("podless"))
    _said(lab, "podless", "PodNotMade", "exceeded quota: nopods")
    lab.delete("brun", "podless")


def _hold(lab: Lab, job: str, *, back: bool) -> None:
    """What Kueue does to a Job that it queues, lets go, or preempts."""
    lab.kubectl("patch", "job", job, "--type=merge", "-p", json.dumps({"spec": {"suspend": back}}))


def test_a_job_that_a_queue_holds_back_waits_and_is_never_loaded_twice(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("preempted", stages=long_stage(15)))
    lab.running_pod("preempted")
    _hold(lab, "preempted-a1", back=True)
    _said(lab, "preempted", "JobSuspended", "by a queue such as Kueue")
    lab.until("its pod is gone", lambda: lab.runner_pods("preempted") == [], 60)
    lab.apply(run_object("next"))
    _hold(lab, "preempted-a1", back=False)
    run = lab.finished("preempted", timeout_s=120)
    assert condition(run, "Succeeded")["reason"] == "Completed", lab.explain()
    assert [a["number"] for a in run["status"]["attempts"]] == [1]
    assert len(lab.items("job", "tokenmark.dev/run=preempted")) == 1
    assert condition(lab.finished("next"), "Succeeded")["reason"] == "Completed"


def test_an_older_run_that_is_resumed_waits_for_the_younger_one(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("older", stages=long_stage(120)))
    lab.running_pod("older")
    lab.kubectl("patch", "brun", "older", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    lab.apply(run_object("younger", stages=long_stage(20)))
    lab.running_pod("younger", timeout_s=90)
    lab.kubectl("patch", "brun", "older", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    queued = lab.reason("older", "Queued", timeout_s=30)
    assert queued["status"]["queue"]["blockedBy"].endswith("/younger")
    assert [p for p in lab.runner_pods("older") if p["status"]["phase"] == "Running"] == []
    assert condition(lab.finished("younger", timeout_s=120), "Succeeded")["reason"] == "Completed"
    lab.running_pod("older", timeout_s=60)
    lab.delete("brun", "older")


def test_a_time_to_live_that_is_set_after_the_end_leaves_waiting_possible(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("done"))
    lab.finished("done")
    lab.kubectl("patch", "brun", "done", "--type=merge", "-p", '{"spec":{"ttlSecondsAfterFinished":3600}}')
    lab.kubectl("wait", "--for=condition=Finished", "brun/done", "--timeout=20s")
    lab.until(
        "every condition is of the newest generation",
        lambda: (
            {c["observedGeneration"] for c in lab.get("brun", "done")["status"]["conditions"]}  # type: ignore[index]
            == {lab.get("brun", "done")["metadata"]["generation"]}
        ),  # type: ignore[index]
        20,
    )
