"""A RAG service in the cluster, beside a real llama-server: its steps in result, status and metrics."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster import images as image_builds
from tests.cluster.demo import LLAMA
from tests.cluster.release import CHART
from tests.cluster.shell import run
from tests.support.lab import Lab, condition, run_object, server

PAGE = "/api/v1/namespaces/tokenmark-system/services/tokenmark-operator:8080/proxy/metrics"


def test_the_steps_of_a_service_beside_a_real_engine(lab: Lab) -> None:
    lab.apply(*server("llama", image_builds.llama_server(lab.cluster), LLAMA, 8080))
    image = image_builds.rag_backend(lab.cluster)
    words = ["rag.enabled=true", "rag.engineUrl=http://llama:8080", f"images.rag={image}"]
    settings = [part for word in words for part in ("--set", word)]
    manifests = run(
        [
            lab.cluster.helm(),
            "template",
            "tokenmark",
            CHART,
            "--namespace",
            lab.namespace,
            "--kube-version",
            "1.31.0",
            "--show-only",
            "templates/rag.yaml",
            *settings,
        ]
    )
    lab.kubectl("apply", "-f", "-", stdin=manifests)
    lab.kubectl("rollout", "status", "deploy/llama", "--timeout=180s", timeout_s=200)
    lab.kubectl("rollout", "status", "deploy/tokenmark-rag", "--timeout=120s", timeout_s=150)
    target = {"engine": "rag", "model": "handbook", "serviceRef": {"name": "tokenmark-rag", "port": 8000}}
    workload = {
        "maxOutputTokens": 8,
        "dataset": {"prompts": ["What is a verdict?", "What is a stage?", "How is TTFT counted?"]},
    }
    asked = run_object(
        "ask",
        target=target,
        retrieval={"k": 1},
        workload=workload,
        stages=[{"name": "c1", "concurrency": 1, "requestCount": 30}],
    )
    del asked["spec"]["workloadRef"]
    lab.apply(asked)
    done = lab.finished("ask", timeout_s=300)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    assert condition(done, "Valid")["status"] == "True", lab.explain()
    result = lab.result("ask-result")
    (stage,) = result["stages"]
    assert stage["requests"]["error_messages"] == {}
    assert stage["tokens"]["output_source"] == "usage"
    steps = {name: stat["mean"] for name, stat in stage["steps"].items()}
    assert set(steps) >= {"embedding", "retrieval", "inference"}
    told = sum(seconds for name, seconds in steps.items() if name != "other")
    assert told + steps.get("other", 0.0) == pytest.approx(stage["metrics"]["ttft"]["mean"], rel=0.011)
    assert result["provenance"]["environment"]["k"] == "1"
    (summary,) = done["status"]["summary"]
    of_status = {each["step"]: each["microseconds"]["p50"] for each in summary["steps"]}
    assert of_status == {name: round(stat["p50"] * 1e6) for name, stat in stage["steps"].items()}
    shown = lab.until("the steps are on /metrics", lambda: _steps(lab), 30)
    assert shown == {name: pytest.approx(value / 1e6) for name, value in of_status.items()}


def _steps(lab: Lab) -> dict[str, float]:
    return {
        sample.labels["step"]: sample.value
        for family in text_string_to_metric_families(lab.kubectl("get", "--raw", PAGE))
        for sample in family.samples
        if sample.name == "tokenmark_run_step_seconds"
        and (sample.labels["run_namespace"], sample.labels["quantile"]) == (lab.namespace, "0.5")
    }
