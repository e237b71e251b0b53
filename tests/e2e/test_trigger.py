"""The operator's HTTP trigger on a real cluster: a token makes runs of the template, and nothing else does."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import release
from tests.support.forward import forwarded
from tests.support.lab import Lab, condition

TOKEN = secrets.token_hex(24)
TEMPLATE = (
    "target.model=sim", "target.serviceRef.name=sim", "target.serviceRef.port=8000", "workloadRef.name=smoke", "repetitions=1",
    "stages[0].name=c1", "stages[0].concurrency=1", "stages[0].durationSeconds=2",
)  # fmt: skip
OTHERWISE = ("resyncSeconds=15", "targetWaitSeconds=12", "jobTtlSeconds=600")


@pytest.fixture
def url(lab: Lab, images: dict[str, str]) -> Iterator[str]:
    lab.simulator()
    lab.kubectl("-n", "tokenmark-system", "create", "secret", "generic", "trigger", f"--from-literal=token={TOKEN}")
    settings = (
        "trigger.enabled=true",
        f"trigger.namespace={lab.namespace}",
        "trigger.tokenSecret=trigger",
        *(f"trigger.template.{word}" for word in TEMPLATE),
    )
    try:
        release.install(lab.cluster, images, *OTHERWISE, *settings)
        with forwarded(lab) as port:
            yield f"http://127.0.0.1:{port}/benchmark/run"
    finally:
        lab.kubectl("-n", "tokenmark-system", "delete", "secret", "trigger")
        release.install(lab.cluster, images, *OTHERWISE)


def post(url: str, body: bytes, token: str | None = TOKEN) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="POST"), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        text = exc.read().decode()
        return exc.code, json.loads(text) if text.startswith("{") else {"error": text}


def test_a_token_makes_runs_of_the_template_and_nothing_else_does(lab: Lab, url: str) -> None:
    for token in (None, "", "wrong", TOKEN[:-1], TOKEN + "x"):
        assert post(url, b"{}", token)[0] == 401
    asked = {
        "max_output_tokens": 8,
        "warmup_requests": 3,
        "concurrency": 2,
        "requests": 40,
        "labels": {"commit": "abc"},
    }
    status, said = post(url, json.dumps(asked).encode())
    assert (status, said["namespace"]) == (201, lab.namespace)
    done = lab.finished(said["name"], timeout_s=90)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    result = lab.result(f"{said['name']}-result")
    assert result["stages"][0]["name"] == "c2"
    assert result["stages"][0]["requests"]["succeeded"] == 40
    assert result["stages"][0]["tokens"]["max_output"] == 8
    assert result["phases"]["warmup"]["requests"] == 3
    assert result["provenance"]["environment"]["commit"] == "abc"
    assert TOKEN not in json.dumps(done)

    refused = {
        b'{"target": {"endpoint": {"url": "http://elsewhere"}}}': "target", b'{"concurrency": 0}': "concurrency", b"{": "JSON",
        b'{"labels": {"commit": 5}}': "labels",
    }  # fmt: skip
    for body, named in refused.items():
        status, said = post(url, body)
        assert (status, named in said["error"]) == (400, True), said
    assert post(url, b"x" * 5000)[0] == 413
    assert len(lab.items("benchmarkruns")) == 1, "nothing of that made a run"

    lab.kubectl("scale", "deploy/sim", "--replicas=0")
    for _ in range(10):
        assert post(url, b'{"duration_seconds": 600}')[0] == 201
    lab.until("ten are not over", lambda: len(lab.items("benchmarkruns", "tokenmark.dev/trigger=http")) == 11, 20)
    status, said = lab.until("no more are taken", lambda: _refused(url), 20)
    assert (status, "are not over" in said["error"]) == (429, True)
    lab.kubectl("delete", "benchmarkruns", "--all", "--wait=false")


def _refused(url: str) -> tuple[int, dict[str, Any]] | None:
    """Once what was made is known here too."""
    answer = post(url, b"{}")
    return answer if answer[0] != 201 else None
