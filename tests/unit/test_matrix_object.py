"""BenchmarkMatrix: one server after the other, one run after the other, whoever is killed between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.support.matrix_world import (
    IMAGE,
    LARGE,
    NOW,
    PROFILES,
    SMALL,
    Object,
    World,
    a_matrix,
    a_pod,
    a_run,
    stamp,
    states,
    step,
)
from tests.support.results import a_result
from tests.support.runs import SETTINGS, conditions
from tokenmark_decisions.matrix_asked import asked_cells
from tokenmark_operator.observe.server import view_server
from tokenmark_operator.plan import names
from tokenmark_operator.shared.facts import Decision, Refusal
from tokenmark_operator.telemetry.sweeps import matrix_metrics
from tokenmark_schemas.local_models import ModelsFile
from tokenmark_schemas.matrix_object import BenchmarkMatrix
from tokenmark_schemas.workload import Warmup

# --- from its beginning to its end --------------------------------------------------------------------------------------


def test_every_cell_is_measured_on_its_own_server_and_nothing_is_left() -> None:
    world = World(a_matrix())
    status = world.until_finished()
    assert conditions(Decision(status=status))["Succeeded"] == ("True", "Completed")
    assert states(status) == dict.fromkeys(
        ["small-q4-k-m-interactive", "small-q4-k-m-quality", "small-q8-0-interactive", "small-q8-0-quality"], "Measured"
    )
    assert (status["cellsProgress"], world.jobs, world.live(), world.services) == ("4/4", {}, [], set())
    assert world.served == [
        "mx-small-q4-k-m-interactive",
        "mx-small-q4-k-m-quality",
        "mx-small-q8-0-interactive",
        "mx-small-q8-0-quality",
    ]
    servers = [
        (each["number"], each["quantization"], each["state"], each["loadMilliseconds"]) for each in status["servers"]
    ]
    assert servers == [(1, "Q4_K_M", "Stopped", 4000), (2, "Q8_0", "Stopped", 4000)]


@pytest.mark.parametrize("seed", range(40))
def test_an_operator_killed_anywhere_measures_every_cell_once_with_one_server_at_a_time(seed: int) -> None:
    """World itself asserts that no second server is up, and that a run asks the one that is."""
    world = World(a_matrix(models=[SMALL, LARGE]), seed=seed, kills=0.25)
    status = world.until_finished()
    assert set(states(status).values()) == {"Measured"}
    assert len(world.served) == len(set(world.served)) == 6
    world.jobs.clear()  # the owner is gone: the cluster's own business


def test_what_is_planned_is_a_restricted_pod_and_a_service_that_finds_it() -> None:
    decision = step(
        a_matrix(
            server={
                "execution": {"image": IMAGE, "resources": {"limits": {"nvidia.com/gpu": "1"}}},
                "threads": [2, 4],
                "args": ["--flash-attn", "on"],
            }
        )
    )
    service, job = decision.create_first
    pod = job["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    words = container["args"]
    assert words[words.index("--model") + 1] == "/s-4.gguf"
    assert words[words.index("--alias") + 1] == "small"
    assert (words[words.index("--threads") + 1], words[-2:]) == ("2", ["--flash-attn", "on"])
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert (job["spec"]["backoffLimit"], pod["spec"]["restartPolicy"], pod["spec"]["activeDeadlineSeconds"]) == (
        0,
        "Never",
        86_400,
    )
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert "t2" in decision.status["servers"][0]["way"]


def test_a_files_memory_is_its_servers() -> None:
    world = World(a_matrix(profiles=["interactive"]))
    seen = []
    while len(seen) < 2:
        world.turn()
        seen += [
            job["spec"]["template"]["spec"]["containers"][0]["resources"]
            for name, job in world.jobs.items()
            if name == names.server_name("mx", len(seen) + 1)
        ]
    assert seen == [{}, {"requests": {"memory": "2Gi"}, "limits": {"memory": "2Gi"}}]


# --- what goes wrong ----------------------------------------------------------------------------------------------------


def test_a_server_that_ends_fails_its_cells_in_its_own_words_and_the_next_goes_on() -> None:
    world = World(a_matrix(), fate=lambda words: "crash" if "/s-4.gguf" in words else "ready")
    status = world.until_finished()
    assert list(states(status).values()) == ["Failed", "Failed", "Measured", "Measured"]
    assert status["cells"][0]["message"] == "it ended with exit code 1: llama_model_load: invalid magic"
    assert status["servers"][0]["state"] == "Failed"
    assert conditions(Decision(status=status))["Succeeded"] == ("False", "CellsFailed")
    assert world.live() == []


def test_a_model_without_room_spares_the_larger_one_at_the_same_quantisation() -> None:
    world = World(
        a_matrix(models=[LARGE, SMALL], profiles=["interactive"]),
        fate=lambda words: "oom" if "/s-4.gguf" in words else "ready",
    )
    status = world.until_finished()
    assert states(status) == {
        "small-q4-k-m-interactive": "Failed",
        "large-q4-k-m-interactive": "Skipped",
        "small-q8-0-interactive": "Measured",
    }
    assert "OOMKilled; give its file" in status["cells"][0]["message"]
    assert "small is smaller at the same quantisation" in status["cells"][1]["message"]


def test_a_model_of_unknown_size_says_nothing_of_others() -> None:
    vast = {"name": "vast", "files": [{"quantization": "Q4_K_M", "path": "/v-4.gguf"}]}
    world = World(
        a_matrix(models=[vast, LARGE], profiles=["interactive"]),
        fate=lambda words: "oom" if "/v-4.gguf" in words else "ready",
    )
    assert states(world.until_finished()) == {
        "vast-q4-k-m-interactive": "Failed",
        "large-q4-k-m-interactive": "Measured",
    }


def test_a_model_that_is_too_slow_is_not_asked_for_more() -> None:
    world = World(a_matrix(models=[LARGE]))
    world.speed_s = 1.0
    status = world.until_finished()
    assert states(status) == {"large-q4-k-m-interactive": "Measured", "large-q4-k-m-quality": "Skipped"}
    assert status["cells"][1]["message"] == "1.0 tokens/s, below 2"


def test_a_server_that_dies_under_a_run_is_started_anew_for_the_rest() -> None:
    world = World(a_matrix(models=[LARGE]))
    while not world.runs:
        world.turn()
    (run,) = world.runs
    (name,) = world.jobs
    world.pods[name] = a_pod(world.jobs[name], "oom", world.now)
    world.runs[run] = a_run(world.runs[run], "TargetFailed", "False")
    world.results[run] = a_result(stages=[])
    status = world.until_finished()
    assert states(status) == {"large-q4-k-m-interactive": "Failed", "large-q4-k-m-quality": "Measured"}
    assert "OOMKilled" in status["cells"][0]["message"]
    assert [each["state"] for each in status["servers"]] == ["Failed", "Stopped"]


def test_a_run_that_somebody_deleted_is_told_and_not_repeated() -> None:
    world = World(a_matrix(models=[LARGE]))
    while "Running" not in states(world.cr["status"] or {"cells": []}).values() if world.cr["status"] else True:
        world.turn()
    world.runs.clear()
    status = world.until_finished()
    assert status["cells"][0]["reason"] == "RunDeleted"
    assert world.served.count("mx-large-q4-k-m-interactive") == 1


def test_what_the_api_server_refuses_for_good_fails_and_what_it_may_yet_grant_waits() -> None:
    quota = Refusal("Job", "server-mx-1", "QuotaExceeded", "no room", passing=True)
    waits = step(a_matrix(), refused=quota)
    assert (conditions(waits)["Succeeded"], waits.create_first) == (("Unknown", "QuotaExceeded"), [])
    assert set(states(waits.status).values()) == {"Waiting"}
    never = step(a_matrix(), refused=Refusal("Job", "server-mx-1", "CreateRefused", "violates PodSecurity"))
    assert list(states(never.status).values()) == ["Failed", "Failed", "Waiting", "Waiting"]


def test_what_may_yet_be_granted_for_fetching_is_asked_for_again_without_haste() -> None:
    quota = Refusal("Job", "mx-models", "QuotaExceeded", "no room", passing=True)
    waits = step(a_matrix(**HUB), refused=quota)
    assert (waits.create_first, waits.requeue_s) == ([], 15.0)
    assert conditions(waits)["Succeeded"] == ("Unknown", "QuotaExceeded")


def test_a_server_whose_node_is_drained_is_started_again_but_not_for_ever() -> None:
    drained = iter(["drained", "drained", "ready"])
    status = World(a_matrix(models=[LARGE]), fate=lambda _words: next(drained)).until_finished()
    assert set(states(status).values()) == {"Measured"}
    assert [each["state"] for each in status["servers"]] == ["Failed", "Failed", "Stopped"]
    status = World(a_matrix(models=[LARGE]), fate=lambda _words: "drained").until_finished()
    assert (len(status["servers"]), set(states(status).values())) == (3, {"Failed"})
    assert "EvictionByEvictionAPI" in status["cells"][0]["message"]


def test_an_image_that_is_taken_back_ends_the_matrix_when_its_server_has_done() -> None:
    world = World(a_matrix())
    while not world.runs:
        world.turn()
    world.settings = SETTINGS
    status = world.until_finished()
    assert conditions(Decision(status=status))["Succeeded"] == ("False", "NotAllowed")
    assert list(states(status).values()) == ["Measured", "Measured", "Skipped", "Skipped"]
    assert "allow-list" in status["cells"][3]["message"]
    assert (world.jobs, world.live(), world.services) == ({}, [], set())


@pytest.mark.parametrize("seed", range(10))
def test_profiles_that_change_on_the_way_end_it_and_leave_no_server(seed: int) -> None:
    world = World(a_matrix(), seed=seed, kills=0.25)
    while not any(row["state"] == "Measured" for row in world.cr["status"].get("cells", [])):
        world.turn()
    world.profiles = [each.model_copy(update={"warmup": Warmup(request_count=9)}) for each in PROFILES]
    status = world.until_finished()
    assert conditions(Decision(status=status))["Succeeded"] == ("False", "ProfilesChanged")
    assert "Measured" in states(status).values()
    assert set(states(status).values()) <= {"Measured", "Failed", "Skipped"}
    assert (world.jobs, world.live()) == ({}, [])


def test_profiles_that_are_not_there_are_waited_for() -> None:
    decision = step(a_matrix(), profiles="spec.profilesRef: ConfigMap uses, key p does not exist in n")
    assert (conditions(decision)["Succeeded"], decision.requeue_s) == (("Unknown", "ProfilesNotFound"), 15.0)


def test_a_service_that_is_gone_is_made_again_for_the_next_run() -> None:
    world = World(a_matrix(models=[LARGE]))
    while not world.results:
        world.turn()
    world.services.clear()
    assert set(states(world.until_finished()).values()) == {"Measured"}


def test_an_image_that_the_administrator_does_not_know_is_refused() -> None:
    decision = step(a_matrix(server={"execution": {"image": "evil:1"}}))
    assert conditions(decision)["Succeeded"] == ("False", "InvalidSpec")
    assert "spec.server.execution.image is not in the operator's allow-list" in str(decision.status["conditions"])
    assert decision.create_first == []


def test_suspended_it_takes_its_server_away_and_goes_on_when_it_may() -> None:
    world = World(a_matrix())
    while not world.results:
        world.turn()
    world.cr["spec"]["suspend"] = True
    for _ in range(20):
        world.turn()
    assert (world.jobs, world.live()) == ({}, [])
    assert conditions(Decision(status=world.cr["status"]))["Succeeded"] == ("Unknown", "Suspended")
    world.cr["spec"]["suspend"] = False
    assert set(states(world.until_finished()).values()) == {"Measured"}
    assert len(world.served) == len(set(world.served))


# --- models of the hub --------------------------------------------------------------------------------------------------

HUB = {
    "models": [{"name": "small", "hub": {"repo": "o/r"}, "files": [{"quantization": "Q4_K_M", "path": "q4/s-4.gguf"}]}],
    "store": {"claimName": "models", "tokenSecretRef": {"name": "hub", "key": "token"}, "endpoint": "http://hub:80"},
}


def test_models_are_fetched_into_the_store_before_a_server_is_started() -> None:
    first = step(a_matrix(**HUB))
    config_map, job = first.create_first
    listed = ModelsFile.model_validate(yaml.safe_load(config_map["data"]["models.yaml"]))
    assert listed.models[0].hub is not None
    assert listed.models[0].hub.files["Q4_K_M"].place == "s-4.gguf"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["models", "pull"]
    assert container["args"][-2:] == ["--endpoint", "http://hub:80"]
    assert container["env"][-1]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    world = World(a_matrix(**HUB))
    status = world.until_finished()
    assert status["modelsFetched"] is True
    assert set(states(status).values()) == {"Measured"}


def test_its_server_mounts_the_store_and_cannot_write_there() -> None:
    world = World(a_matrix(**HUB))
    while not (server := world.jobs.get("server-mx-1")):
        world.turn()
    spec = server["spec"]["template"]["spec"]
    words = spec["containers"][0]["args"]
    assert words[words.index("--model") + 1] == "/models/s-4.gguf"
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in spec["containers"][0]["volumeMounts"]
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in spec["volumes"]


def test_a_fetch_that_cannot_start_is_told_and_given_up() -> None:
    cr = a_matrix(**HUB)
    first = step(cr)
    made = first.create_first[1]
    job = {**made, "metadata": {**made["metadata"], "uid": "j-1", "creationTimestamp": stamp(NOW)}, "status": {}}
    known = {"jobs": {"mx-models": job}, "unmade": {"mx-models": "exceeded quota"}}
    waits = step({**cr, "status": first.status}, **known)
    assert conditions(waits)["Succeeded"] == ("Unknown", "FetchingModels")
    assert "exceeded quota" in waits.status["conditions"][-1]["message"]
    ended = step({**cr, "status": waits.status}, NOW + timedelta(seconds=700), **known)
    assert conditions(ended)["Succeeded"] == ("False", "ModelsNotFetched")
    assert ended.delete_jobs == ["mx-models"]


def test_models_that_cannot_be_had_end_it_with_the_reason() -> None:
    cr = a_matrix(**HUB)
    first = step(cr)
    made = first.create_first[1]
    job = {
        **made,
        "metadata": {**made["metadata"], "uid": "j-1"},
        "status": {"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]},
    }
    pod = a_pod(job, "crash", NOW)
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = (
        "tokenmark: o/r: there is no such repository"
    )
    ended = step({**cr, "status": first.status}, jobs={"mx-models": job}, pods={"mx-models": pod})
    assert conditions(ended)["Succeeded"] == ("False", "ModelsNotFetched")
    assert "there is no such repository" in str(ended.status["conditions"])


# --- what may be asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"server": {"execution": {}}}, "name the server's image"),
        *[
            ({"server": {"execution": {"image": IMAGE}, "args": [word]}}, "args")
            for word in ("--tools", "--path", "/etc/passwd", "--model", "-m", "--host", "--log-file", "a/b", "--slot-save-path")
        ],
        ({"runs": {"environment": {"labels": {f"l{n}": "x" for n in range(29)}}}}, "28 labels at most"),
        ({"server": {"execution": {"image": IMAGE, "workers": 2}}}, "a server is one pod"),
        ({"models": HUB["models"]}, "need the claim"),
        ({"store": HUB["store"]}, "a path is below the claim"),
        ({"models": [{"name": "m", "files": [{"quantization": "Q4_0", "path": "../x"}]}], "store": HUB["store"]}, "path"),
        ({"models": [{"name": "m", "files": [{"quantization": "Q4_0", "path": "a/../../x"}]}], "store": HUB["store"]}, "path"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(spec: Object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        BenchmarkMatrix.model_validate(a_matrix(**spec) | {"status": None})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"profiles": ["nonsense"]}, "there is no nonsense; there are interactive"),
        ({"models": [{"name": f"m{n}", "files": [{"quantization": f"Q{q}_0", "path": f"/{n}-{q}"} for q in range(9)]} for n in range(30)]}, "256 are the most"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_with_the_reason(spec: Object, said: str) -> None:
    decision = step(a_matrix(**spec))
    assert conditions(decision)["Succeeded"] == ("False", "InvalidSpec")
    assert said in decision.status["conditions"][-1]["message"]


def test_without_sizes_models_go_in_the_order_of_the_list() -> None:
    models = [{"name": name, "files": [{"quantization": "Q4_0", "path": f"/{name}"}]} for name in ("z", "a")]
    spec = BenchmarkMatrix.model_validate(a_matrix(models=models, profiles=["interactive"]) | {"status": None}).spec
    assert [cell.candidate.model for cell in asked_cells(spec, PROFILES)] == ["z", "a"]


def test_its_cells_are_counted_by_state() -> None:
    (family,) = matrix_metrics([a_matrix(step(a_matrix()).status)])
    counted = {sample.labels["state"]: sample.value for sample in family.samples}
    assert counted == {"Waiting": 4, "Running": 0, "Measured": 0, "Failed": 0, "Skipped": 0}


# --- a server, as it is seen --------------------------------------------------------------------------------------------


def seen(state: str, after_s: float = 1, **pod: Any) -> Any:
    (_, job) = step(a_matrix()).create_first
    job["metadata"]["creationTimestamp"] = stamp(NOW)
    body = a_pod(job, state, NOW)
    body["status"] |= pod
    return view_server(job, body, NOW + timedelta(seconds=after_s), load_s=30, startup_s=60)


def test_a_server_is_told_from_its_pod() -> None:
    assert (seen("ready").state, seen("ready").load_ms) == ("Ready", 4000)
    assert (seen("loading").state, seen("loading").message) == ("Starting", "it loads its model")
    slow = seen("loading", 40)
    assert (slow.state, slow.beyond) == ("Failed", True)
    assert "did not answer for 30 s" in slow.message
    assert (seen("oom").state, seen("oom").beyond) == ("Failed", True)
    assert (seen("crash").state, seen("crash").beyond) == ("Failed", False)
    assert seen("drained").disrupted
    assert view_server(None, None, NOW, load_s=1, startup_s=1).message == "its Job was deleted by somebody"


def test_a_pod_that_finds_no_place_is_given_up_and_the_reason_told() -> None:
    no_room = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/2 nodes: 2 Insufficient memory",
        }
    ]
    assert seen("pending", conditions=no_room).state == "Starting"
    late = seen("pending", 61, conditions=no_room)
    assert (late.state, late.beyond) == ("Failed", True)
    assert "Insufficient memory" in late.message
    no_image = [{"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]
    late = seen("pending", 61, containerStatuses=no_image)
    assert (late.state, late.beyond) == ("Failed", False)
    assert "ErrImagePull: not found" in late.message
