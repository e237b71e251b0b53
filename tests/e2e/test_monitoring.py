"""Prometheus and the dashboard over real runs; install, upgrade and uninstall."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.cluster import release
from tests.dashboards.exhibits import prometheus
from tests.dashboards.figures import ask, figures
from tests.dashboards.scenes import gallery
from tests.support.forward import forwarded
from tests.support.lab import Lab, Object, condition, long_stage, run_object

# panel -> why it has no figure here
WITHOUT = {
    "Not compared, and what differs": "all runs of this model are alike",
    "Cost of a million output tokens": "no prices were given", "Not regressed": "no baseline is named", "Lines": "no baseline is named",
    "Network's share of TTFT": "no probe was joined",
    "Network's share": "no probe was joined",
    "Standing mesh: round trip p50": "no standing mesh",
    "Requests in flight": "the run is over", "Output tokens per second so far": "the run is over",
    "The target's machine": "no exporter is named", "Steps before the first token": "no RAG service was measured",
    "Answers so far": "the run is over", "Time left": "the run is over",
    "What it was": "labels, no figures", "Both": "labels, no figures",
}  # fmt: skip


def test_every_dashboard_of_the_operator_has_figures_after_three_runs_and_a_probe(lab: Lab, tmp_path: Path) -> None:
    lab.simulator("sim", "--ttft-ms", "20", "--itl-ms", "4")
    enough_for_p95 = [{"name": "c2", "concurrency": 2, "requestCount": 120}]  # at a load that two cores carry
    for provider in ("aws", "azure", "gcp"):
        lab.standing(f"on-{provider}", stages=enough_for_p95, environment={"provider": provider, "region": f"{provider}-1"}, objectives=[
            {"metric": "ttft", "statistic": "p50", "maxMilliseconds": 500},
        ])  # fmt: skip
    lab.apply(a_probe())
    assert condition(lab.finished("east-west", kind="nprobe", timeout_s=180), "Succeeded")["status"] == "True", (
        lab.explain()
    )
    with forwarded(lab) as port, prometheus(tmp_path, {"tokenmark": (f"127.0.0.1:{port}", "/metrics")}) as url:
        lab.until(
            "all is scraped", lambda: len(ask(url, f'tokenmark_run_info{{run_namespace="{lab.namespace}"}}')) == 3, 45
        )
        lab.apply(run_object("busy", stages=long_stage(120)))  # what does nothing has no times to show
        lab.running_pod("busy")
        time.sleep(2)  # two scrapes
        with gallery(url) as browser:
            for board, more in (
                ("operator", {}), ("provider-comparison", {}), ("trend", {}), ("network", {"probe_namespace": lab.namespace}),
                ("run", {"run": "on-gcp"}), ("run-against-baseline", {"run": "on-gcp", "baseline": "on-aws"}),
            ):  # fmt: skip
                report = browser.look(board, since="now-1m", run_namespace=lab.namespace, **more)
                bare = [
                    panel["title"]
                    for panel in report["panels"]
                    if not panel["finite"] and panel["title"] not in WITHOUT
                ]
                assert (bare, [panel["error"] for panel in report["panels"] if panel["error"]]) == ([], []), board
        found = dict(figures("provider-comparison", url, {"run_namespace": lab.namespace, "stage": "c2"}))
        assert (found["Providers"], found["Runs"], found["Errors"]) == ("3", "3", "0.0%"), found


@contextmanager
def certificate(lab: Lab, authority: trustme.CA) -> Iterator[None]:
    """The Secret that cert-manager would write."""
    issued = authority.issue_cert("127.0.0.1", "tokenmark-operator.tokenmark-system.svc")
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    text = {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes(), "ca.crt": authority.cert_pem.bytes()}
    lab.kubectl("-n", "tokenmark-system", "apply", "-f", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "operator-tls", "namespace": "tokenmark-system"},
        "stringData": {name: value.decode() for name, value in text.items()},
    }))  # fmt: skip
    try:
        yield
    finally:
        lab.kubectl("-n", "tokenmark-system", "delete", "secret", "operator-tls")


def the_metrics_are_for_who_may(lab: Lab, authority: trustme.CA) -> None:
    """A token of the account that the chart makes for Prometheus reads them; a stranger's, a false one and none do not."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    def answer(url: str, token: str | None) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=10, context=trust
            ) as said:
                return said.status, said.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def token(account: str) -> str:
        return lab.kubectl("-n", "tokenmark-system", "create", "token", account).strip()

    with forwarded(lab, "https", trust) as port:
        url = f"https://127.0.0.1:{port}/metrics"
        status, page = answer(url, token("tokenmark-operator-scrape"))
        assert (status, "tokenmark_run_info" in page) == (200, True), page
        status, page = answer(url, token("default"))
        assert (status, "bind it to a ClusterRole" in page) == (403, True), page
        assert answer(url, "made-up")[0] == 401
        assert answer(url, None)[0] == 401
        assert answer(url.replace("/metrics", "/healthz"), None) == (200, "ok"), "probes need no token"


def a_probe() -> Object:
    quick = {"durationSeconds": 1, "warmupSeconds": 0}
    tests = [
        {"name": "rtt", "type": "TCPLatency", **quick}, {"name": "connect", "type": "TCPConnect", **quick},
        {"name": "bw", "type": "Throughput", "durationSeconds": 2, "omitSeconds": 0},
    ]  # fmt: skip
    meta = {"name": "east-west"}
    return {
        "apiVersion": "tokenmark.dev/v1alpha1",
        "kind": "NetProbe",
        "metadata": meta,
        "spec": {"tests": tests, "repetitions": 1},
    }


def test_the_chart_upgrades_and_leaves_runs_and_results_when_it_goes(lab: Lab, images: dict[str, str]) -> None:
    lab.simulator()
    lab.apply(run_object("kept"))
    lab.finished("kept")
    authority = trustme.CA()
    settings = (
        "resyncSeconds=15",
        "targetWaitSeconds=12",
        "newestRuns=50",
        "metrics.review=true",
        "metrics.tlsSecret=operator-tls",
    )
    with certificate(lab, authority):
        release.install(lab.cluster, images, *settings)
        the_metrics_are_for_who_may(lab, authority)
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
