"""Prometheus and the dashboard over real runs; install, upgrade and uninstall."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import release
from tests.support.lab import Lab, condition, run_object, tree
from tests.support.ports import free_port


@contextmanager
def forwarded(lab: Lab) -> Iterator[int]:
    """The operator's port on this machine."""
    port = free_port()
    words = [str(lab.cluster.kubectl()), "--kubeconfig", str(lab.cluster.kubeconfig()), "-n", "tokenmark-system"]
    process = subprocess.Popen(
        [*words, "port-forward", "svc/tokenmark-operator", f"{port}:8080"], stdout=subprocess.DEVNULL
    )
    try:
        lab.until("the operator answers", lambda: fetch(f"http://127.0.0.1:{port}/readyz") == "ok", 30)
        yield port
    finally:
        process.terminate()
        process.wait()


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """Debian's Prometheus, scraping the operator every second."""
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: tokenmark\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
    )
    port = free_port()
    process = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_every_query_of_the_dashboard_finds_series_after_three_runs(lab: Lab, tmp_path: Path) -> None:
    lab.simulator("sim", "--ttft-ms", "5", "--itl-ms", "1")
    enough_for_p95 = [{"name": "c4", "concurrency": 4, "requestCount": 150}]
    for provider in ("aws", "azure", "gcp"):
        lab.apply(run_object(f"on-{provider}", stages=enough_for_p95, environment={"provider": provider, "region": f"{provider}-1"}, objectives=[
            {"metric": "ttft", "statistic": "p50", "maxMilliseconds": 500},
        ]))  # fmt: skip
    for provider in ("aws", "azure", "gcp"):
        assert condition(lab.finished(f"on-{provider}", timeout_s=120), "Succeeded")["status"] == "True", lab.explain()
    dashboard = json.loads((tree() / "grafana" / "dashboards" / "provider-comparison.json").read_text())
    queries = list(dict.fromkeys(queries_of(dashboard)))
    assert len(queries) >= 6
    with forwarded(lab) as port, prometheus(tmp_path, port) as url:
        for query in queries:
            asked = query.replace("$__range", "5m").replace("$run_namespace", lab.namespace)
            for variable in ("provider", "model", "engine", "workload", "stage", "cluster", "quantile_ignored"):
                asked = asked.replace(f"${variable}", ".*")
            found = lab.until(f"series for {asked}", lambda asked=asked: answer(url, asked), 45)
            assert found


def queries_of(node: object) -> Iterator[str]:
    """Every PromQL expression in a dashboard."""
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        for value in node.values():
            yield from queries_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries_of(value)


def answer(url: str, query: str) -> list:
    text = fetch(f"{url}/api/v1/query?query={urllib.parse.quote(query)}")
    if not text:
        return []
    document = json.loads(text)
    assert document["status"] == "success", document
    series: list = document["data"]["result"]
    return series


def test_the_chart_upgrades_and_leaves_runs_and_results_when_it_goes(lab: Lab, images: dict[str, str]) -> None:
    lab.simulator()
    lab.apply(run_object("kept"))
    lab.finished("kept")
    release.install(lab.cluster, images, "resyncSeconds=15", "targetWaitSeconds=12", "newestRuns=50")
    release.uninstall(lab.cluster)
    try:
        assert condition(lab.get("brun", "kept") or {}, "Succeeded")["status"] == "True"
        assert lab.get("cm", "kept-result") is not None
        lab.kubectl("delete", "ns", lab.namespace, "--wait=false")
        began = time.monotonic()
        lab.until(
            "the namespace is not stuck", lambda: "NotFound" in lab.try_kubectl("get", "ns", lab.namespace).stderr, 60
        )
        assert time.monotonic() - began < 60
    finally:
        release.install(lab.cluster, images, "resyncSeconds=15", "targetWaitSeconds=12", "jobTtlSeconds=600")
        lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lab.namespace}})


def test_an_operator_of_one_namespace_has_no_right_and_no_eye_elsewhere(lab: Lab, images: dict[str, str]) -> None:
    lab.simulator()
    only = ("rbac.namespaced=true", "rbac.nodes=false", f"watchNamespaces={{{lab.namespace}}}", "resyncSeconds=15")
    release.install(lab.cluster, images, *only)
    try:
        elsewhere = Lab(lab.cluster, images, "default")
        elsewhere.apply(run_object("unseen"))
        lab.apply(run_object("seen"))
        assert condition(lab.finished("seen"), "Succeeded")["status"] == "True", lab.explain()
        assert "status" not in (elsewhere.get("brun", "unseen") or {})
        account = "--as=system:serviceaccount:tokenmark-system:tokenmark-operator"
        asked = {
            "here": lab.try_kubectl("auth", "can-i", "create", "jobs", account).stdout.strip(),
            "there": elsewhere.try_kubectl("auth", "can-i", "create", "jobs", account).stdout.strip(),
            "nodes": lab.try_kubectl("auth", "can-i", "list", "nodes", account).stdout.strip(),
        }
        assert asked == {"here": "yes", "there": "no", "nodes": "no"}
    finally:
        elsewhere.delete("brun", "unseen", "--wait=false")
        release.install(lab.cluster, images, "resyncSeconds=15", "targetWaitSeconds=12", "jobTtlSeconds=600")
