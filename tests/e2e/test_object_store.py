"""Results in a real S3 server inside the cluster: there, refused, away, and carried later from the kept log."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from tests.cluster import images as image_builds
from tests.cluster import s3
from tests.support.lab import Lab, condition, run_object, server
from tests.support.ports import free_port

SECRET = "store-credentials"
ENOUGH = [{"name": "c4", "concurrency": 4, "requestCount": 120}]


@pytest.fixture
def store(lab: Lab) -> Lab:
    """A simulator, an S3 server named `store` and a Secret that fits it."""
    lab.simulator("sim", "--ttft-ms", "5", "--itl-ms", "1")
    words = ["--quiet", "--access", s3.ACCESS, "--secret", s3.SECRET, "--port", ":7070", "--health", "/health"]
    lab.apply(*server("store", image_builds.s3_server(lab.cluster), words, 7070), a_secret(SECRET, s3.SECRET))
    lab.kubectl("rollout", "status", "deploy/store", "--timeout=90s")
    return lab


def a_secret(name: str, value: str) -> dict[str, Any]:
    data = {"AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": value}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def sinks(secret: str = SECRET, deadline_s: int = 60) -> dict[str, Any]:
    where = {"uri": f"s3://{s3.BUCKET}/lab", "endpoint": "http://store:7070", "deadlineSeconds": deadline_s}
    s3_sink = {"name": "s3", "objectStore": {**where, "credentialsSecretRef": {"name": secret}}}
    return {"sinks": [{"name": "cm", "configMap": {}}, s3_sink]}


@contextmanager
def bucket(lab: Lab) -> Iterator[tuple[S3Store, str]]:
    """The bucket as seen from here, and its address."""
    port = free_port()
    words = [str(lab.cluster.kubectl()), "--kubeconfig", str(lab.cluster.kubeconfig()), "-n", lab.namespace]
    process = subprocess.Popen([*words, "port-forward", "svc/store", f"{port}:7070"], stdout=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        store = S3Store(
            s3.BUCKET, endpoint=endpoint, access_key_id=s3.ACCESS, secret_access_key=s3.SECRET, region="us-east-1",
            virtual_hosted_style_request=False, client_options={"allow_http": True},
        )  # fmt: skip
        lab.until("the store answers", lambda: listed(store) is not None, 30)
        yield store, endpoint
    finally:
        process.terminate()
        process.wait()


def listed(store: S3Store) -> list[str] | None:
    try:
        return sorted(found["path"] for page in obstore.list(store) for found in page)
    except Exception:
        return None


def test_a_run_leaves_everything_in_the_store_and_a_receipt_in_its_status(store: Lab) -> None:
    store.apply(run_object("kept", stages=ENOUGH, results=sinks(), environment={"provider": "lab"}))
    run = store.finished("kept")
    assert condition(run, "ResultsStored")["status"] == "True", store.explain()
    stored = [artifact for artifact in run["status"]["artifacts"] if artifact["kind"] == "ObjectStore"]
    assert sorted(a["name"] for a in stored) == [
        "s3-config",
        "s3-log",
        "s3-record",
        "s3-report",
        "s3-requests",
        "s3-result",
    ]
    with bucket(store) as (there, _):
        for artifact in stored:
            content = bytes(obstore.get(there, artifact["key"]).bytes())
            assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact["sizeBytes"], artifact["sha256"])
        record = next(a["key"] for a in stored if a["name"] == "s3-record")
        assert record.startswith("lab/benchmarks/ns/lab/")
        assert json.loads(bytes(obstore.get(there, record).bytes()))["success"] == 120
    assert s3.SECRET not in store.kubectl("get", "cm,jobs,brun,events", "-o", "yaml")
    assert s3.SECRET not in store.kubectl("logs", "job/kept-a1")


def test_a_store_that_forbids_costs_no_result_and_the_kept_log_is_pushed_later(store: Lab) -> None:
    store.apply(a_secret("wrong", "some-other-secret"))
    store.apply(run_object("locked", stages=ENOUGH, results=sinks("wrong")))
    run = store.finished("locked")
    said = condition(run, "ResultsStored")
    assert (said["status"], said["reason"]) == ("False", "StoreForbidden"), store.explain()
    assert "SignatureDoesNotMatch" in said["message"]
    assert "| tokenmark results push -" in said["message"]
    assert condition(run, "Succeeded")["status"] == "True", "what was measured lies in the ConfigMap"
    assert store.result("locked-result")["stages"][0]["requests"]["succeeded"] == 120
    log = store.kubectl("logs", "job/locked-a1")
    env = {**os.environ, "AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    with bucket(store) as (there, endpoint):
        words = ["results", "push", "-", "--store", f"s3://{s3.BUCKET}/later", "--store-endpoint", endpoint]
        done = subprocess.run(
            [sys.executable, "-m", "bench_runner", *words],
            input=log,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        names = {path.rsplit("/", 1)[1] for path in listed(there) or [] if path.startswith("later/runs/")}
        assert names == {"config.json", "report.html", "requests.jsonl.gz", "result.json", "runner.log"}


def test_a_store_that_comes_back_during_the_upload_has_it_all(store: Lab) -> None:
    store.kubectl("scale", "deploy/store", "--replicas=0")
    store.apply(run_object("patient", stages=ENOUGH, results=sinks(deadline_s=120)))
    store.reason("patient", "Storing")
    store.kubectl("scale", "deploy/store", "--replicas=1")
    run = store.finished("patient", timeout_s=150)
    assert condition(run, "ResultsStored")["status"] == "True", store.explain()


def test_a_runner_deleted_during_the_upload_keeps_what_it_measured(store: Lab) -> None:
    store.kubectl("scale", "deploy/store", "--replicas=0")
    store.apply(run_object("cut", stages=ENOUGH, results=sinks(deadline_s=600)))
    store.reason("cut", "Storing")
    (pod,) = store.runner_pods("cut")
    store.delete("pod", pod["metadata"]["name"], "--wait=false")
    run = store.finished("cut")
    assert condition(run, "ResultsStored")["status"] == "False", store.explain()
    assert condition(run, "Succeeded")["status"] == "True", "the load was over, and the log has its result"
    assert store.result("cut-result")["stages"][0]["requests"]["succeeded"] == 120


def test_a_secret_that_is_missing_is_named_before_any_load(store: Lab) -> None:
    store.apply(run_object("early", stages=ENOUGH, results=sinks("comes-later")))
    waits = store.reason("early", "ContainerConfigError")
    assert '"comes-later" not found' in condition(waits, "Succeeded")["message"]
    store.apply(a_secret("comes-later", s3.SECRET))
    assert condition(store.finished("early"), "ResultsStored")["status"] == "True", store.explain()


def test_a_probes_result_reaches_the_store(store: Lab) -> None:
    probe = {
        "apiVersion": "tokenmark.dev/v1alpha1", "kind": "NetProbe", "metadata": {"name": "ew"},
        "spec": {
            "tests": [{"name": "rtt", "type": "TCPLatency", "durationSeconds": 2}], "repetitions": 1,
            "placement": {"topology": "SameNode"}, "results": sinks(),
        },
    }  # fmt: skip
    store.apply(probe)
    found = store.finished("ew", kind="nprobe", timeout_s=120)
    assert condition(found, "ResultsStored")["status"] == "True", store.explain()
    (artifact,) = [a for a in found["status"]["artifacts"] if a["kind"] == "ObjectStore"]
    assert artifact["key"].startswith("lab/benchmarks/ew/lab/")
    with bucket(store) as (there, _):
        content = bytes(obstore.get(there, artifact["key"]).bytes())
    assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
    assert json.loads(content)["schema_version"] == "netprobe-ew/v1"
