"""What a real API server refuses, and whether its message names the field."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.support.lab import Lab, Object, run_object

HEALTHY = run_object("healthy")
PROBE: Object = {
    "apiVersion": "tokenmark.dev/v1alpha1",
    "kind": "NetProbe",
    "metadata": {"name": "healthy"},
    "spec": {"tests": [{"name": "rtt", "type": "TCPLatency"}]},
}
SINK = [{"name": "configmap", "configMap": {}}]
STAGE = {"name": "c1", "concurrency": 1, "durationSeconds": 5}
DATASET = {"synthetic": {"inputTokens": {"mean": 8}}}
OBJECTIVE = {"metric": "ttft", "maxMilliseconds": 100}

# (path below spec, bad value, what the server's message must contain). None as a value removes the member.
BAD_RUNS: list[tuple[str, Any, str]] = [
    ("target", None, "spec.target"),
    ("target.model", None, "spec.target.model"),
    ("target.model", "", "spec.target.model"),
    ("target.engine", "gpt", "spec.target.engine"),
    ("target.engin", "vllm", "spec.target.engin"),
    ("target.serviceRef", None, "set exactly one of endpoint, serviceRef"),
    ("target.endpoint", {"url": "http://h:1"}, "set exactly one of endpoint, serviceRef"),
    ("target", {"model": "m", "endpoint": {"url": "ftp://h"}}, "spec.target.endpoint.url"),
    ("target", {"model": "m", "endpoint": {"url": "http://u:p@h"}}, "must not contain user information"),
    ("target", {"model": "m", "endpoint": {"url": "http://a b"}}, "spec.target.endpoint.url"),
    ("target.serviceRef.port", 0, "spec.target.serviceRef.port"),
    ("target.serviceRef.port", 70000, "spec.target.serviceRef.port"),
    ("target.serviceRef.port", "http", "spec.target.serviceRef.port"),
    ("target.serviceRef.name", "Not_A_Name", "spec.target.serviceRef.name"),
    ("target.serviceRef.scheme", "tcp", "spec.target.serviceRef.scheme"),
    ("target.serviceRef.path", "v1", "spec.target.serviceRef.path"),
    ("target.authSecretRef", {"name": "key"}, "spec.target.authSecretRef.key"),
    ("target.requestTimeoutSeconds", 0, "spec.target.requestTimeoutSeconds"),
    ("target.firstTokenTimeoutSeconds", 5000, "spec.target.firstTokenTimeoutSeconds"),
    ("workload", {"dataset": DATASET, "maxOutputTokens": 4}, "set workload or workloadRef, not both"),
    (
        "workload",
        {"dataset": DATASET, "maxOutputTokens": 4, "conversation": {"turns": {"mean": 65}}},
        "turns.mean: 64 at most",
    ),
    (
        "workload",
        {"dataset": DATASET, "maxOutputTokens": 4, "conversation": {"history": "Mine"}},
        "spec.workload.conversation.history",
    ),
    ("workload", {"dataset": {"records": {}}, "maxOutputTokens": 4}, "operations and dataset.records go together"),
    ("workload", {"dataset": DATASET}, "set maxOutputTokens for an engine, or operations for a database"),
    ("target", {"engine": "postgres", "endpoint": {"url": "http://h:1"}}, "postgresql://host:5432 for engine postgres"),
    ("target", {"engine": "vllm", "endpoint": {"url": "http://h:1"}}, "model is missing"),
    ("objectives", [{"metric": "recall", "minPerMille": 950, "maxPerMille": 5}], "set exactly one of maxMilliseconds"),
    ("objectives", [{"metric": "recall", "minPerMille": 950}], "set statistic to mean"),
    ("workloadRef", {}, "set exactly one of name, configMap"),
    ("workloadRef", {"name": "smoke", "configMap": {"name": "a", "key": "b"}}, "set exactly one of name, configMap"),
    ("maxOutputTokens", 0, "spec.maxOutputTokens"),
    ("maxOutputTokens", "16", "spec.maxOutputTokens"),
    ("stages", [], "spec.stages"),
    ("stages", [{**STAGE, "requestRate": "1"}], "set exactly one of concurrency, requestRate, trace"),
    ("stages", [{"name": "c1", "durationSeconds": 5}], "set exactly one of concurrency, requestRate, trace"),
    ("stages", [{"name": "c1", "concurrency": 1}], "set durationSeconds or requestCount"),
    ("stages", [{**STAGE, "arrival": "Constant"}], "arrival describes requestRate"),
    ("stages", [{"name": "r", "requestRate": "fast", "durationSeconds": 1}], "spec.stages[0].requestRate"),
    ("stages", [{**STAGE, "concurrency": 0}], "spec.stages[0].concurrency"),
    ("stages", [{**STAGE, "trace": {}}], "set exactly one of concurrency, requestRate, trace"),
    ("stages", [{**STAGE, "burstiness": "0.5"}], "burstiness is the shape of arrival Gamma"),
    (
        "stages",
        [{"name": "r", "requestRate": "1", "arrival": "Gamma", "durationSeconds": 1}],
        "burstiness is the shape of arrival Gamma",
    ),
    (
        "stages",
        [{"name": "r", "requestRate": "1", "rampTo": "9", "requestCount": 1}],
        "rampTo changes requestRate over durationSeconds",
    ),
    ("stages", [{"name": "r", "trace": {"speedup": "fast"}}], "spec.stages[0].trace.speedup"),
    ("stopRules", {"maxErrorsPerMille": 1001}, "spec.stopRules.maxErrorsPerMille"),
    ("stopRules", {"overSaturation": "Panic"}, "spec.stopRules.overSaturation"),
    ("calibration", "Sometimes", "spec.calibration"),
    ("target.proxyUrl", "http://u:p@proxy:1", "spec.target.proxyUrl"),
    ("target.connections", {"policy": "Sometimes"}, "spec.target.connections.policy"),
    ("target.connections", {"maxOpen": 0}, "spec.target.connections.maxOpen"),
    ("target.retryAfter", "Yes", "spec.target.retryAfter"),
    ("stages", [{**STAGE, "name": "C 1"}], "spec.stages[0].name"),
    ("stages", [STAGE, STAGE], "spec.stages[1]"),
    ("stages", [{**STAGE, "concurency": 3}], "spec.stages[0].concurency"),
    ("repetitions", 0, "spec.repetitions"),
    ("repetitions", 51, "spec.repetitions"),
    ("repetitions", 1.5, "spec.repetitions"),
    ("seed", -1, "spec.seed"),
    ("warmup", {"requestCount": -1}, "spec.warmup.requestCount"),
    ("cooldownSeconds", 4000, "spec.cooldownSeconds"),
    ("objectives", [{"metric": "ttft"}], "set exactly one of maxMilliseconds, maxMicroseconds"),
    ("objectives", [{"metric": "speed", "maxMilliseconds": 1}], "spec.objectives[0].metric"),
    ("objectives", [OBJECTIVE, OBJECTIVE], "spec.objectives[1]"),
    ("objectives", [{**OBJECTIVE, "onViolation": "Explode"}], "spec.objectives[0].onViolation"),
    ("cost", {}, "set exactly one of configMap, inline"),
    ("search", {"find": "Everything"}, "spec.search.find"),
    ("search", {"find": "MaxRate"}, "search needs objectives"),
    ("execution", {"workers": 0}, "spec.execution.workers"),
    ("execution", {"maxAttempts": 9}, "spec.execution.maxAttempts"),
    ("execution", {"resources": {"limits": {"memory": "a lot"}}}, "spec.execution.resources.limits.memory"),
    ("execution", {"hostNetwork": True}, "spec.execution.hostNetwork"),
    ("execution", {"activeDeadlineSeconds": 5}, "spec.execution.activeDeadlineSeconds"),
    ("exclusivity", {"policy": "Fight"}, "spec.exclusivity.policy"),
    (
        "results",
        {"sinks": [{"name": "x", "objectStore": {"uri": "s3://b/p?sig=1"}}]},
        "spec.results.sinks[0].objectStore.uri",
    ),
    ("results", {"sinks": [{"name": "x", "objectStore": {"uri": "gs://b/p", "region": "eu"}}]}, "region is for s3"),
    (
        "results",
        {"sinks": [{"name": "x", "objectStore": {"uri": "s3://b/p", "keyTemplate": "{run}"}}]},
        "would overwrite each other",
    ),
    (
        "results",
        {"sinks": [{"name": "x", "objectStore": {"uri": "s3://b/p", "keyTemplate": "{run}-{tim}"}}]},
        "keyTemplate",
    ),
    ("results", {"detail": "Everything", "sinks": SINK}, "spec.results.detail"),
    ("results", {"sinks": [{"name": "x"}]}, "set exactly one of configMap, objectStore"),
    ("results", {"sinks": [{"name": "x", "objectStore": {"uri": "ftp://b"}}]}, "spec.results.sinks[0].objectStore.uri"),
    ("environment", {"provider": "p" * 64}, "spec.environment.provider"),
    ("suspend", "yes", "spec.suspend"),
    ("ttlSecondsAfterFinished", -1, "spec.ttlSecondsAfterFinished"),
    ("workload", {"dataset": {}, "maxOutputTokens": 4}, "set exactly one of synthetic, prompts, configMap, jsonl"),
]
BAD_PROBES: list[tuple[str, Any, str]] = [
    ("tests", [], "spec.tests"),
    ("tests", [{"name": "a", "type": "Ping"}], "spec.tests[0].type"),
    ("tests", [{"name": "a", "type": "Throughput", "protocol": "UDP"}], "needs bitrate"),
    ("tests", [{"name": "a", "type": "TCPLatency"}] * 2, "spec.tests[1]"),
    (
        "tests",
        [{"name": "a", "type": "Throughput", "durationSeconds": 5, "omitSeconds": 5}],
        "omitSeconds must be below durationSeconds",
    ),
    ("tests", [{"name": "a", "type": "TCPLatency", "messageBytes": 0}], "spec.tests[0].messageBytes"),
    ("tests", [{"name": "a", "type": "Throughput", "parallelStreams": 1000}], "spec.tests[0].parallelStreams"),
    ("placement", {"topology": "Ring"}, "spec.placement.topology"),
    ("pairs", {"selection": "Sample"}, "selection Sample needs count"),
    ("repetitions", 21, "spec.repetitions"),
]


def changed(whole: Object, path: str, value: Any) -> Object:
    """A copy with one member below `spec` replaced; removed when `value` is None."""
    document = copy.deepcopy(whole)
    *way, last = path.split(".")
    place = document["spec"]
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


def refused(lab: Lab, document: Object) -> str:
    """What the API server says; empty when it takes the object."""
    return lab.try_kubectl(
        "create", "--validate=strict", "--dry-run=server", "-f", "-", stdin=json.dumps(document)
    ).stderr


@pytest.mark.parametrize(("path", "value", "said"), BAD_RUNS, ids=lambda v: str(v)[:40])
def test_a_bad_run_is_refused_by_a_message_that_names_the_field(
    shared_lab: Lab, path: str, value: Any, said: str
) -> None:
    whole = HEALTHY
    if path == "workload" and "exactly one" in said:
        whole = changed(HEALTHY, "workloadRef", None)
    assert said in refused(shared_lab, changed(whole, path, value))


@pytest.mark.parametrize(("path", "value", "said"), BAD_PROBES, ids=lambda v: str(v)[:40])
def test_a_bad_probe_is_refused_by_a_message_that_names_the_field(
    shared_lab: Lab, path: str, value: Any, said: str
) -> None:
    assert said in refused(shared_lab, changed(PROBE, path, value))


def test_healthy_ones_are_taken_and_filled_with_defaults(shared_lab: Lab) -> None:
    assert refused(shared_lab, HEALTHY) == ""
    assert refused(shared_lab, PROBE) == ""
    taken = json.loads(
        shared_lab.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(PROBE))
    )
    assert taken["spec"]["placement"]["topology"] == "DifferentNode"
    assert taken["spec"]["exclusivity"]["policy"] == "Queue"


def test_a_name_that_leaves_no_room_for_its_jobs_is_refused(shared_lab: Lab) -> None:
    for kind in (HEALTHY, PROBE):
        long_name = {**kind, "metadata": {"name": "n" * 49}}
        assert "metadata.name" in refused(shared_lab, long_name)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"repetitions": 2}, "spec.repetitions"),
    ({"target": {"model": "other"}}, "spec.target"),
    ({"maxOutputTokens": 9}, "spec.maxOutputTokens"),
    ({"stages": [STAGE, {**STAGE, "name": "c2"}]}, "spec.stages"),
    ({"exclusivity": {"policy": "Allow"}}, "spec.exclusivity"),
    ({"environment": {"provider": "elsewhere"}}, "spec.environment"),
    ({"seed": 5}, "spec.seed"),
]


@pytest.fixture(scope="module")
def suspended(shared_lab: Lab) -> Lab:
    """A run that exists and does nothing: two stages in one order."""
    shared_lab.apply(run_object("fixed", suspend=True, stages=[{**STAGE, "name": "c2"}, STAGE]))
    return shared_lab


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=lambda v: str(v)[:40])
def test_what_influences_the_measurement_is_immutable(suspended: Lab, change: dict[str, Any], said: str) -> None:
    answer = suspended.try_kubectl("patch", "brun", "fixed", "--type=merge", "-p", json.dumps({"spec": change}))
    assert "is immutable once created" in answer.stderr
    assert said in answer.stderr


def test_the_order_of_stages_is_immutable_too(suspended: Lab) -> None:
    swapped = {"spec": {"stages": [STAGE, {**STAGE, "name": "c2"}]}}
    answer = suspended.try_kubectl("patch", "brun", "fixed", "--type=merge", "-p", json.dumps(swapped))
    assert "stages is immutable once created" in answer.stderr


def test_suspend_and_ttl_may_change(suspended: Lab) -> None:
    free = {"spec": {"ttlSecondsAfterFinished": 600, "suspend": True}}
    suspended.kubectl("patch", "brun", "fixed", "--type=merge", "-p", json.dumps(free))
    assert (suspended.get("brun", "fixed") or {})["spec"]["ttlSecondsAfterFinished"] == 600
