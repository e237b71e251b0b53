"""What goes to the API server, whole and as text: a change of a manifest is a change of a file that a person reads.

`make golden` writes the files anew; `git diff` then shows what a change really does.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import provider
from tests.cluster.layout import TREE
from tests.cluster.release import CHART
from tests.support.builders import a_run
from tokenmark_operator.kinds.benchmarkrun import read_run
from tokenmark_operator.plan.benchmark_job import plan_attempt, plan_config
from tokenmark_operator.plan.netprobe_jobs import plan_client, plan_server
from tokenmark_operator.plan.store_job import plan_store
from tokenmark_operator.settings import Settings
from tokenmark_operator.shared.admission import group_of
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.crd import KINDS
from tokenmark_schemas.documents import read_workload
from tokenmark_schemas.kube import Artifact
from tokenmark_schemas.netprobe import NetProbe
from tokenmark_schemas.probe_status import PairStatus

FILES = Path(__file__).parent / "files"
SETTINGS = Settings(runner_image="runner:1", netprobe_image="netprobe:1", cluster="aks-1", provider="azure")
KUBE_VERSION = "1.35.4"
CHARTS: dict[str, list[str]] = {
    "chart-default": [],
    "chart-namespaced": ["rbac.namespaced=true", "watchNamespaces={bench,perf}", "rbac.nodes=false"],
    "chart-everything": [
        "netprobe.mesh.enabled=true", "netprobe.hostNetwork=true", "serviceMonitor.enabled=true", "serviceMonitor.additionalLabels.release=prom", "crds.keep=false",
        "cluster.name=aks-1", "cluster.provider=azure", "cluster.region=westeurope",
        "images.operator=registry.example/operator@sha256:0", "images.pullSecrets[0].name=reg", "networkPolicy.enabled=false",
    ],
    "chart-guarded": ["podMonitor.enabled=true", "metrics.review=true", "metrics.tlsSecret=tokenmark-tls"],
}  # fmt: skip


def matches(name: str, text: str) -> None:
    """Compares with the committed file; writes it when asked to."""
    path = FILES / f"{name}.yaml"
    if os.environ.get("TOKENMARK_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.relative_to(TREE)} differs; if that is meant: make golden"


def dumped(*manifests: dict[str, Any]) -> str:
    return yaml.safe_dump_all(manifests, sort_keys=True, width=110, allow_unicode=True)


def job_of(**spec: Any) -> str:
    run = read_run(a_run(**spec))
    assert isinstance(run, BenchmarkRun), run
    workload = read_workload("smoke")
    config = plan_config(run, 1, SETTINGS, workload=workload, dataset=None, detected={"provider": "azure"})
    config_map, *others = plan_attempt(run, config, SETTINGS, group_of(a_run(**spec)))
    config_map["data"] = {"config.json": "…"}  # has its own schema and tests
    return dumped(config_map, *others)


def test_the_job_of_a_plain_run() -> None:
    matches("job-plain", job_of())


def test_the_job_of_a_run_of_several_pods() -> None:
    matches("job-team", job_of(execution={"workers": 3}))


def test_the_job_of_a_run_with_every_execution_field() -> None:
    execution = {
        "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"pool": "bench"},
        "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "priorityClassName": "high",
        "runtimeClassName": "gvisor",
        "imagePullSecrets": [{"name": "reg"}],
        "podLabels": {"team": "perf"},
        "podAnnotations": {"note": "x"},
        "queueName": "lq",
        "activeDeadlineSeconds": 900,
    }
    target = {
        "engine": "openai", "model": "m", "endpoint": {"url": "http://host:8000"},
        "authSecretRef": {"name": "key", "key": "token"},
    }  # fmt: skip
    matches("job-full", job_of(execution=execution, target=target))


def test_the_jobs_of_a_probe() -> None:
    probe = NetProbe.model_validate(
        {
            "apiVersion": "tokenmark.dev/v1alpha1",
            "kind": "NetProbe",
            "metadata": {"name": "east-west", "namespace": "bench", "uid": "uid-1"},
            "spec": {
                "tests": [
                    {"name": "rtt", "type": "TCPLatency"},
                    {"name": "bw", "type": "Throughput", "path": "PodToService"},
                ]
            },
        }
    )
    pair = PairStatus(index=1, source_node="node1", target_node="node2")
    config_map, client = plan_client(probe, pair, ("198.18.0.9", "uid-job-1"), SETTINGS)
    matches("probe-jobs", dumped(*plan_server(probe, pair, SETTINGS), config_map, client))


def test_the_job_that_carries_a_probes_result() -> None:
    store = {
        "uri": "s3://bench/pre",
        "credentialsSecretRef": {"name": "s3"},
        "caBundleRef": {"name": "ca", "key": "ca.pem"},
    }
    probe = {
        "tests": [{"name": "rtt", "type": "TCPLatency"}],
        "results": {"sinks": [{"name": "s3", "objectStore": store}]},
    }
    meta = {"name": "east-west", "namespace": "bench", "uid": "uid-1"}
    found = NetProbe.model_validate(
        {"apiVersion": "tokenmark.dev/v1alpha1", "kind": "NetProbe", "metadata": meta, "spec": probe}
    )
    result = Artifact(
        name="result", kind="ConfigMap", ref="east-west-nprobe-result", key="result.json.gz", sha256="a" * 64
    )
    matches("probe-store", dumped(*plan_store(found, result, SETTINGS)))


@pytest.fixture(scope="module")
def helm() -> Path:
    return provider.choose().helm()


def test_the_chart_passes_helm_lint(helm: Path) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", CHARTS)
def test_the_chart_renders_as_committed(helm: Path, name: str) -> None:
    """CRDs and dashboards are left out of the text: they are generated, and compared elsewhere."""
    text = template(helm, *CHARTS[name])
    documents = [d for d in yaml.safe_load_all(text) if d and d["kind"] != "CustomResourceDefinition"]
    for document in documents:
        if document["kind"] == "ConfigMap":
            document["data"] = dict.fromkeys(document["data"], "…")
    matches(name, dumped(*documents))
    crds = [d for d in yaml.safe_load_all(text) if d and d["kind"] == "CustomResourceDefinition"]
    assert len(crds) == len(KINDS)
    kept = {d["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for d in crds}
    assert kept == ({None} if "crds.keep=false" in CHARTS[name] else {"keep"})


def test_reviews_of_tokens_need_a_right_that_one_namespace_cannot_give(helm: Path) -> None:
    words = [
        helm,
        "template",
        "t",
        CHART,
        "--kube-version",
        KUBE_VERSION,
        "--set",
        "metrics.review=true,rbac.namespaced=true",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "not with rbac.namespaced" in done.stderr


def test_a_mistyped_value_is_refused_by_its_name(helm: Path) -> None:
    done = subprocess.run(
        [helm, "template", "t", CHART, "--kube-version", KUBE_VERSION, "--set", "resyncSecond=5"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "resyncSecond" in done.stderr


def template(helm: Path, *settings: str) -> str:
    words = [word for value in settings for word in ("--set", value)]
    done = subprocess.run(
        [helm, "template", "tokenmark", CHART, "--namespace", "tokenmark-system", "--kube-version", KUBE_VERSION, *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
