"""What a person does with a BenchmarkRun, on real nodes."""

from __future__ import annotations

from tests.cluster import images as image_builds
from tests.cluster.demo import LLAMA
from tests.support.lab import Lab, condition, long_stage, run_object, server, simulator


def test_a_run_against_the_simulator_ends_with_stored_true_numbers(lab: Lab) -> None:
    lab.simulator("sim", "--ttft-ms", "20", "--itl-ms", "5")
    lab.apply(run_object("happy", objectives=[{"metric": "ttft", "statistic": "p50", "maxMilliseconds": 500}]))
    run = lab.finished("happy")
    assert condition(run, "Succeeded")["reason"] == "Completed", lab.explain()
    for kind in ("Accepted", "Admitted", "ResultsStored", "Valid", "ObjectivesMet", "Finished", "Succeeded"):
        assert condition(run, kind)["status"] == "True", f"{kind}\n{lab.explain()}"
    result = lab.result("happy-result")
    stage = result["stages"][0]
    assert stage["requests"]["succeeded"] > 10
    assert 0.020 <= stage["metrics"]["ttft"]["p50"] < 0.060
    assert 0.0045 <= stage["metrics"]["tpot"]["p50"] < 0.0075
    assert result["provenance"]["stamps"] == "kernel"
    assert result["provenance"]["environment"]["node_instance_type"] == "lab.small"
    assert run["status"]["summary"][0]["requests"] == stage["requests"]["sent"]
    reasons = {event["reason"] for event in lab.items("events") if event["involvedObject"]["kind"] == "BenchmarkRun"}
    assert {"Accepted", "AttemptStarted", "Completed"} <= reasons
    assert "happy" in lab.kubectl("get", "tokenmark")


def test_a_run_against_llama_server_agrees_with_the_engines_own_clock(lab: Lab) -> None:
    image = image_builds.llama_server(lab.cluster)
    lab.apply(*server("llama", image, LLAMA, 8080))
    lab.kubectl("rollout", "status", "deploy/llama", "--timeout=180s", timeout_s=200)
    target = {"engine": "llamacpp", "model": "gemma", "serviceRef": {"name": "llama", "port": 8080}}
    workload = {"dataset": {"synthetic": {"inputTokens": {"mean": 24}}}, "maxOutputTokens": 12, "ignoreEOS": "Force"}
    stages = [{"name": "c1", "concurrency": 1, "requestCount": 12}]
    execution = {"resources": {"requests": {"cpu": "500m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}}
    run = run_object("llama", target=target, workload=workload, stages=stages, execution=execution)
    del run["spec"]["workloadRef"]
    lab.apply(run)
    done = lab.finished("llama", timeout_s=240)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    result = lab.result("llama-result")
    assert result["stages"][0]["requests"]["errors"] == {}
    assert result["stages"][0]["tokens"]["output"] == 12 * 12
    assert result["stages"][0]["tokens"]["output_source"] == "usage"
    assert result["stages"][0]["client"]["calibration"]["answers"] > 0, "a pod measures its own floor first"
    engine = result["provenance"]["engine"]
    assert engine["version"], "llama-server tells its build"
    assert engine["served_model"].endswith(".gguf")
    rows = _rows(lab, "llama-result")
    for row in rows:
        engine_ms = row["engine_timings"]["predicted_per_token_ms"]
        ours_ms = (row["content_ns"][-1] - row["content_ns"][0]) / 1e6 / (row["output_tokens"] - 1)
        assert abs(ours_ms - engine_ms) < max(0.35 * engine_ms, 5), f"ours {ours_ms}, engine {engine_ms}"
        assert (row["content_ns"][0] - row["sent_ns"]) / 1e6 >= 0.9 * row["engine_timings"]["prompt_ms"]


def _rows(lab: Lab, config_map: str) -> list[dict]:
    import base64
    import gzip
    import json

    found = lab.get("cm", config_map)
    assert found is not None
    text = gzip.decompress(base64.b64decode(found["binaryData"]["requests.jsonl.gz"])).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows
    return rows


def test_a_wrong_model_fails_with_the_servers_own_words(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("wrong", target={"model": "nope", "serviceRef": {"name": "sim", "port": 8000}}))
    run = lab.finished("wrong")
    said = condition(run, "Succeeded")
    assert (said["status"], said["reason"]) == ("False", "TargetFailed")
    assert "the model `nope` does not exist" in said["message"]


def test_a_missing_service_is_waited_for_and_then_named(lab: Lab) -> None:
    lab.apply(run_object("early"))
    lab.reason("early", "WaitingForTarget")
    run = lab.finished("early", timeout_s=60)
    assert condition(run, "Succeeded")["reason"] == "TargetNotFound"
    assert "Service sim does not exist" in condition(run, "Succeeded")["message"]


def test_a_service_that_comes_late_is_found(lab: Lab) -> None:
    lab.apply(run_object("patient"))
    lab.reason("patient", "WaitingForTarget")
    lab.simulator()
    assert condition(lab.finished("patient"), "Succeeded")["status"] == "True", lab.explain()


def test_an_engine_that_is_not_ready_is_waited_for_with_what_is_in_its_way(lab: Lab) -> None:
    deployment, service = simulator("sim", lab.images["runner"])
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] = "/nowhere"
    lab.apply(deployment, service, run_object("together"))
    waiting = condition(lab.reason("together", "Preflight"), "Succeeded")["message"]
    assert "behind it is not ready" in waiting
    lab.apply(*simulator("sim", lab.images["runner"]))
    assert condition(lab.finished("together"), "Succeeded")["reason"] == "Completed", lab.explain()


def test_a_token_is_needed_and_only_the_pod_reads_it(lab: Lab) -> None:
    lab.simulator("sim", "--api-token", "hunter2")
    lab.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"token": "hunter2"}})
    lab.apply(run_object("without"))
    lab.apply(run_object("with", target={
        "model": "sim", "serviceRef": {"name": "sim", "port": 8000}, "authSecretRef": {"name": "key", "key": "token"},
    }))  # fmt: skip
    without = condition(lab.finished("without"), "Succeeded")
    assert without["status"] == "False"
    assert "HTTP 401: invalid or missing API key" in without["message"]
    assert condition(lab.finished("with"), "Succeeded")["status"] == "True", lab.explain()
    account = "system:serviceaccount:tokenmark-system:tokenmark-operator"
    for verb in ("get", "list", "watch"):
        assert lab.try_kubectl("auth", "can-i", verb, "secrets", f"--as={account}").stdout.strip() == "no"
    assert lab.try_kubectl("auth", "can-i", "create", "pods/exec", f"--as={account}").stdout.strip() == "no"
    logs = lab.kubectl("logs", "-l", "tokenmark.dev/run=with", "--tail=-1")
    assert "hunter2" not in logs
    assert "hunter2" not in lab.kubectl("get", "cm", "-o", "yaml")


def test_two_runs_on_one_target_go_one_after_the_other(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("first", stages=long_stage(5)), run_object("second"))
    lab.running_pod("first")
    second = lab.reason("second", "Queued")
    assert second["status"]["queue"] == {"position": 2, "blockedBy": f"{lab.namespace}/first"}
    assert lab.runner_pods("second") == []
    first, second = lab.finished("first"), lab.finished("second")
    assert condition(first, "Succeeded")["status"] == condition(second, "Succeeded")["status"] == "True", lab.explain()
    assert first["status"]["completionTime"] <= second["status"]["startTime"]


def test_suspend_ends_the_load_and_resuming_starts_anew(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("paused", stages=long_stage(8)))
    lab.running_pod("paused")
    lab.kubectl("patch", "brun", "paused", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    lab.reason("paused", "Suspended")
    lab.until("the load has stopped", lambda: not lab.runner_pods("paused"), 30)
    lab.kubectl("patch", "brun", "paused", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    run = lab.finished("paused")
    assert condition(run, "Succeeded")["status"] == "True", lab.explain()
    assert [a["reason"] for a in run["status"]["attempts"]] == ["Suspended", "Completed"]


def test_deleting_a_run_stops_the_load_within_ten_seconds_and_leaves_nothing(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("unwanted", stages=long_stage(90)))
    lab.running_pod("unwanted")
    lab.delete("brun", "unwanted")

    def nothing_left() -> bool:
        left = lab.runner_pods("unwanted") + lab.items("jobs") + lab.items("cm", "tokenmark.dev/run=unwanted")
        return not left

    lab.until("everything of the run is gone", nothing_left, 10)


def test_a_job_deleted_by_hand_ends_the_run(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("robbed", stages=long_stage(60)))
    lab.running_pod("robbed")
    lab.delete("job", "robbed-a1")
    assert condition(lab.finished("robbed"), "Succeeded")["reason"] == "JobDeleted"


def test_detail_that_does_not_fit_is_dropped_and_said(lab: Lab) -> None:
    lab.simulator("sim", "--ttft-ms", "1", "--itl-ms", "0.1")
    workload = {"dataset": {"synthetic": {"inputTokens": {"mean": 12}}}, "maxOutputTokens": 200}
    run = run_object(
        "large",
        workload=workload,
        results={"detail": "Chunks"},
        stages=[{"name": "c8", "concurrency": 8, "requestCount": 4000}],
    )
    del run["spec"]["workloadRef"]
    lab.apply(run)
    done = lab.finished("large", timeout_s=180)
    stored = condition(done, "ResultsStored")
    assert (stored["status"], stored["reason"]) == ("True", "DetailDropped"), lab.explain()
    assert [a["name"] for a in done["status"]["artifacts"]] == ["result"]
    assert lab.result("large-result")["stages"][0]["requests"]["succeeded"] == 4000


def test_what_is_not_there_yet_is_refused_by_name(lab: Lab) -> None:
    lab.apply(run_object("ahead", results={"detail": "Text"}, retrieval={"k": 3}))
    accepted = condition(lab.finished("ahead"), "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "NotSupportedYet")
    assert "spec.results.detail" in accepted["message"]
    assert "spec.retrieval" in accepted["message"]
    assert lab.items("jobs") == []


def test_a_missed_objective_fails_the_run_that_asked_for_it(lab: Lab) -> None:
    lab.simulator("sim", "--ttft-ms", "30")
    lab.apply(
        run_object(
            "slow", objectives=[{"metric": "ttft", "statistic": "p50", "maxMilliseconds": 1, "onViolation": "Fail"}]
        )
    )
    run = lab.finished("slow")
    assert condition(run, "Succeeded")["reason"] == "ObjectiveViolated"
    assert condition(run, "ObjectivesMet")["status"] == "False"
    assert condition(run, "ResultsStored")["status"] == "True"


def test_what_the_api_server_refuses_ends_the_run_with_its_words(lab: Lab) -> None:
    lab.simulator()
    resources = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    lab.apply(run_object("greedy", execution={"resources": resources}))
    said = condition(lab.finished("greedy"), "Succeeded")
    assert (said["status"], said["reason"]) == ("False", "CreateRefused")
    assert "must be less than or equal to memory limit" in said["message"]


def test_a_run_made_anew_under_the_same_name_is_not_taken_for_the_old_one(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("again", stages=long_stage(60)))
    lab.running_pod("again")
    lab.delete("brun", "again", "--wait=false")
    lab.until("the old object is gone", lambda: lab.get("brun", "again") is None, 30)
    lab.apply(run_object("again"))
    assert condition(lab.finished("again"), "Succeeded")["status"] == "True", lab.explain()
