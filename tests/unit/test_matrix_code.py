"""Cells of a BenchmarkMatrix that ask for code: one Job asks, another judges, and what goes wrong is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bench_runner.quality.code_checks import fixtures
from bench_runner.storage.pod_frames import compressed
from tests.support.matrix_world import (
    ALLOWED,
    LARGE,
    World,
    a_judgement,
    a_matrix,
    a_pod,
    an_answer,
    stamp,
    states,
)
from tests.support.runs import conditions
from tokenmark_decisions.matrix_asked import asked_cells
from tokenmark_operator.plan.code_jobs import TASKS, user_of
from tokenmark_operator.shared.facts import Decision, Refusal
from tokenmark_schemas.matrix_object import CODE_RESULT_KEY, BenchmarkMatrix
from tokenmark_schemas.quality import CodeAnswers, CodeResult, TestsPassed, WrittenCode

BOTH = {"models": [LARGE], "profiles": ["interactive", "code"]}
CODE, CHAT = "large-q4-k-m-code", "large-q4-k-m-interactive"
RUN = f"mx-{CODE}"


def a_world(**more: Any) -> World:
    return World(a_matrix(**BOTH), **more)


def until(world: World, fact: Any) -> None:
    for _ in range(200):
        world.turn()
        if fact():
            return
    raise AssertionError(world.cr["status"])


def judge_of(uid: str) -> int:
    """The user that judges for a matrix."""
    matrix = BenchmarkMatrix.model_validate(a_matrix(**BOTH) | {"status": None})
    return user_of(matrix.model_copy(update={"metadata": matrix.metadata.model_copy(update={"uid": uid})}))


def row(world: World) -> dict[str, Any]:
    return next(each for each in world.cr["status"]["cells"] if each["name"] == CODE)


def test_code_is_asked_by_one_job_and_judged_by_another_and_its_result_is_kept() -> None:
    world = a_world()
    status = world.until_finished()
    assert states(status) == {CHAT: "Measured", CODE: "Measured"}
    assert conditions(Decision(status=status))["Succeeded"] == ("True", "Completed")
    assert world.served == [f"mx-{CHAT}", f"{RUN}-ask", f"{RUN}-judge"]
    kept = CodeResult.model_validate_json(world.kept[f"{RUN}-code"]["data"][CODE_RESULT_KEY])
    spec = BenchmarkMatrix.model_validate(a_matrix(**BOTH) | {"status": None}).spec
    (cell,) = [each for each in asked_cells(spec, world.profiles) if each.name == CODE]
    assert (kept.mean, kept.cell) == (7.5, cell.hash)


def test_the_pod_that_judges_has_no_network_no_account_and_nothing_to_write_to() -> None:
    execution = {
        "serviceAccountName": "someone",
        "resources": {"limits": {"memory": "9Gi"}},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    world = World(a_matrix(**BOTH, runs={"execution": execution}))
    world.settings = replace(ALLOWED, allowed_service_accounts=("someone",))
    until(world, lambda: f"{RUN}-judge" in world.jobs)
    template = world.jobs[f"{RUN}-judge"]["spec"]["template"]
    pod, policy = template["spec"], world.kept["mx-judge"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & policy["spec"].keys()
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    asking = world.jobs[f"{RUN}-ask"]["spec"]["template"]
    assert not policy["spec"]["podSelector"]["matchLabels"].items() <= asking["metadata"]["labels"].items()
    assert asking["spec"]["serviceAccountName"] == "someone"
    assert "serviceAccountName" not in pod
    assert pod["automountServiceAccountToken"] is False
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (judge_of("m-1"), True)
    (container,) = pod["containers"]
    assert container["image"] == "quality:1"
    assert judge_of("m-1") != judge_of("m-2"), "processes are counted by user over a whole node"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["resources"]["limits"]["memory"] == "3Gi"
    assert [each["name"] for each in container["volumeMounts"] if not each.get("readOnly")] == ["tmp"]
    assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "256Mi"}
    assert any(each.get("key") == "gpu" for each in pod["tolerations"]), "where runs may go it may go too"


@pytest.mark.parametrize("seed", range(40))
def test_an_operator_killed_anywhere_asks_once_and_judges_once(seed: int) -> None:
    world = a_world(seed=seed, kills=0.25)
    status = world.until_finished()
    assert set(states(status).values()) == {"Measured"}
    assert sorted(world.served) == sorted([f"mx-{CHAT}", f"{RUN}-ask", f"{RUN}-judge"])
    assert f"{RUN}-code" in world.kept


def test_a_job_that_the_status_does_not_know_of_yet_is_no_reason_to_take_its_server_away() -> None:
    """The operator was killed before it wrote down that it asks, and a person suspends the matrix meanwhile."""
    world = a_world()
    until(world, lambda: f"{RUN}-ask" in world.jobs)
    row(world)["state"] = "Waiting"
    world.cr["spec"]["suspend"] = True
    until(world, lambda: row(world)["state"] == "Measured")


def test_a_judge_that_ends_is_told_in_its_own_words_and_the_rest_goes_on() -> None:
    world = a_world(fate=lambda words: "crash" if "--pod" in words and words[0] != "code" else "ready")
    status = world.until_finished()
    assert states(status) == {CHAT: "Measured", CODE: "Failed"}
    assert row(world)["message"] == f"Job {RUN}-judge: it ended with exit code 1: llama_model_load: invalid magic"
    assert conditions(Decision(status=status))["Succeeded"] == ("False", "CellsFailed")


def test_an_asker_without_a_log_is_no_answer() -> None:
    world = a_world()
    until(world, lambda: f"{RUN}-ask" in world.pods and world.pods[f"{RUN}-ask"]["_state"] == "done")
    world.logs.clear()
    world.until_finished()
    assert (row(world)["state"], row(world)["message"]) == ("Failed", f"Job {RUN}-ask: it ended, and its log is gone")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"no gzip", "is no gzip"),
        (compressed(a_judgement()), "is none of our documents"),
        (
            compressed(CodeAnswers(model="m", started_at="now", answers=[WrittenCode(fixture="x", run=n, component="y" * 50_000) for n in range(30)])),
            "larger than a ConfigMap holds",
        ),
    ],
)  # fmt: skip
def test_what_an_asker_says_is_looked_at_before_it_is_kept(said: bytes, why: str) -> None:
    world = a_world()
    world.says["ask"] = said
    world.until_finished()
    assert why in row(world)["message"]
    assert f"{RUN}-judge" not in world.jobs


def test_a_server_that_dies_is_why_nothing_was_answered() -> None:
    world = a_world(fate=lambda words: "crash" if words[0] == "code" else "ready")
    until(world, lambda: f"{RUN}-ask" in world.jobs)
    (server,) = world.live()
    world.pods[server] = a_pod(world.jobs[server], "oom", world.now)
    world.until_finished()
    assert row(world)["message"] == "it was OOMKilled; give its file or server.execution more memory"


@pytest.mark.parametrize("name", [f"{RUN}-judge", f"{RUN}-code"])
def test_what_a_quota_keeps_out_comes_later_and_what_is_refused_never(name: str) -> None:
    world = World(a_matrix(models=[LARGE], profiles=["code", "interactive"]))
    world.refuses[name] = Refusal("ConfigMap", name, "QuotaExceeded", "exceeded quota", passing=True)
    until(world, lambda: row(world).get("message") == "exceeded quota")
    assert row(world)["state"] == "Running"
    del world.refuses[name]
    assert set(states(world.until_finished()).values()) == {"Measured"}
    world = World(a_matrix(models=[LARGE], profiles=["code", "interactive"]))
    world.refuses[name] = Refusal("ConfigMap", name, "NameConflict", "belongs to somebody else")
    assert states(world.until_finished()) == {CODE: "Failed", CHAT: "Measured"}, "and it is nobody else's fault"
    assert row(world)["message"] == "belongs to somebody else"


def test_a_job_on_a_lost_node_is_given_up_and_taken_away() -> None:
    world = World(
        a_matrix(models=[LARGE], profiles=["code", "interactive"]),
        fate=lambda words: "loading" if words[0] == "code" else "ready",
    )
    until(world, lambda: world.pods.get(f"{RUN}-ask", {}).get("_state") == "loading")
    world.pods[f"{RUN}-ask"]["metadata"]["deletionTimestamp"] = stamp(world.now - timedelta(days=3))
    assert states(world.until_finished()) == {CODE: "Failed", CHAT: "Measured"}
    assert "node node1 does not answer" in row(world)["message"]
    assert f"{RUN}-ask" not in world.jobs


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_measured_beside_a_job_that_was_given_up(seed: int) -> None:
    """It came too late; the operator may be killed before it has taken the Job away."""
    world = World(
        a_matrix(models=[LARGE], profiles=["code", "interactive"]),
        seed=seed,
        kills=0.4,
        fate=lambda words: "pending" if words[0] == "code" else "ready",
    )
    until(world, lambda: f"{RUN}-ask" in world.jobs)
    world.now += timedelta(seconds=601)
    until(world, lambda: world.runs)
    assert "startupDeadlineSeconds" in row(world)["message"]
    assert f"{RUN}-ask" not in world.jobs


def test_a_job_that_has_told_all_and_never_ends_holds_nothing_up() -> None:
    """Its node was lost between its last word and its end."""
    world = World(a_matrix(models=[LARGE], profiles=["code", "interactive"]))
    until(world, lambda: f"{RUN}-judge" in world.jobs)
    for _ in range(3):
        world.jobs[f"{RUN}-ask"]["status"] = {}
        world.pods[f"{RUN}-ask"] |= {"_ended": False, "status": {"phase": "Running"}}
        world.pods[f"{RUN}-ask"]["metadata"]["deletionTimestamp"] = stamp(world.now - timedelta(days=3))
        world.turn()
    assert set(states(world.until_finished()).values()) == {"Measured"}
    assert f"{RUN}-ask" not in world.jobs


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ({"reason": "OOMKilled", "exitCode": 137, "message": "checking counter, 1"}, "it was OOMKilled"),
        ({"reason": "DeadlineExceeded", "exitCode": 137, "message": "I am innocent"}, "its own deadline has passed"),
        ({"reason": "Unknown"}, "its pod failed: no reason: nobody says why"),
        ({"reason": "Error", "exitCode": 5, "message": "no answer could be judged"}, "it ended with exit code 5: no answer could be judged"),
    ],
)  # fmt: skip
def test_what_kubernetes_knows_goes_before_what_the_container_said(ended: dict[str, Any], said: str) -> None:
    world = World(
        a_matrix(models=[LARGE], profiles=["code"]),
        fate=lambda words: "crash" if words[-1] == "--pod" and words[0] != "code" else "ready",
    )
    until(world, lambda: world.pods.get(f"{RUN}-judge", {}).get("_ended"))
    world.pods[f"{RUN}-judge"]["status"]["containerStatuses"] = [{"state": {"terminated": ended}}]
    world.until_finished()
    assert row(world)["message"] == f"Job {RUN}-judge: {said}"


def test_answers_that_a_dying_server_left_out_make_no_result() -> None:
    half = an_answer()
    lost = half.answers[0].model_copy(update={"run": 1, "component": "", "failure": "connection refused"})
    world = a_world()
    world.says["ask"] = compressed(half.model_copy(update={"answers": [*half.answers, lost]}))
    until(world, lambda: f"{RUN}-ask" in world.jobs)
    (server,) = world.live()
    world.pods[server] = a_pod(world.jobs[server], "oom", world.now)
    world.until_finished()
    assert row(world)["message"] == "it was OOMKilled; give its file or server.execution more memory"
    world = a_world()
    world.says["judge"] = compressed(a_judgement().model_copy(update={"warnings": ["counter, 2: it counts nowhere"]}))
    world.until_finished()
    assert (row(world)["state"], row(world)["message"]) == ("Measured", "counter, 2: it counts nowhere")


def test_a_score_is_between_nought_and_ten() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        CodeResult.model_validate({**a_judgement().model_dump(), "mean": 10.5})
    with pytest.raises(ValidationError, match="more than there are"):
        TestsPassed.model_validate({"passed": 2, "total": 1})


def test_deadlines_are_for_all_tasks_there_are() -> None:
    assert len(fixtures()) <= TASKS


def test_a_judge_that_somebody_deletes_is_made_again() -> None:
    world = a_world()
    until(world, lambda: f"{RUN}-judge" in world.jobs)
    del world.jobs[f"{RUN}-judge"]
    world.pods.pop(f"{RUN}-judge", None)
    assert set(states(world.until_finished()).values()) == {"Measured"}
    assert world.served.count(f"{RUN}-judge") == 2


def test_an_installation_without_the_image_says_so() -> None:
    world = a_world()
    world.settings = replace(ALLOWED, quality_image="")
    status = world.until_finished()
    assert conditions(Decision(status=status))["Succeeded"] == ("False", "InvalidSpec")
    assert "images.quality of its chart" in json.dumps(status["conditions"])
