"""A healthy run of a real engine is `valid`, whatever stands before it: llama-server by itself, behind nginx that buffers,
passes on or may compress, behind LiteLLM's proxy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.accuracy.test_truth import healthy
from tests.cluster import fronts
from tests.cluster import images as image_builds
from tests.cluster.demo import LLAMA
from tests.cluster.embedded import Embedded
from tests.support.beforehand import asked_before_a_load
from tests.support.lab import Lab, server

SHAPE = ("--concurrency", "1", "--requests", "100", "--input-tokens", "12", "--max-output-tokens", "6")
FRONTS = {
    "nothing": "",
    "nginx that buffers": "proxy_buffering on;",
    "nginx that passes on": "proxy_buffering off;",
    "nginx that may compress": "proxy_buffering off; gzip on; gzip_types *; gzip_min_length 1;",
    "LiteLLM": "",
}


@pytest.fixture(scope="module")
def llama(shared_lab: Lab) -> str:
    """host:port of a llama-server, as this machine reaches it."""
    if not isinstance(shared_lab.cluster, Embedded):
        pytest.skip("the pods of other clusters are not reached from here")
    shared_lab.apply(*server("llama-fronts", image_builds.llama_server(shared_lab.cluster), LLAMA, 8080))
    shared_lab.kubectl("rollout", "status", "deploy/llama-fronts", "--timeout=180s", timeout_s=200)
    (pod,) = shared_lab.items("pods", "app=llama-fronts")
    return f"{pod['status']['podIP']}:8080"


@contextmanager
def before(front: str, upstream: str, folder: Path) -> Iterator[str]:
    if front == "nothing":
        yield f"http://{upstream}"
    elif front == "LiteLLM":
        with fronts.litellm(upstream, "gemma", folder) as url:
            yield url
    else:
        with fronts.nginx(upstream, folder, FRONTS[front]) as url:
            yield url


@pytest.mark.trial
@pytest.mark.parametrize("front", FRONTS)
def test_a_healthy_run_is_valid_whatever_stands_before_the_engine(
    front: str, llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, token = ("openai", ("--token-env", "FRONT_KEY")) if front == "LiteLLM" else ("llamacpp", ())
    monkeypatch.setenv("FRONT_KEY", fronts.KEY)
    with before(front, llama, tmp_path) as url:
        result: dict[str, Any] = healthy(url, tmp_path, "--engine", engine, "--model", "gemma", *SHAPE, *token)
    stage = result["stages"][0]
    assert stage["requests"]["errors"] == {}
    assert stage["requests"]["succeeded"] == 100
    assert stage["tokens"]["output_source"] == "usage"


def test_what_a_person_asks_of_llama_server_before_a_load(llama: str, tmp_path: Path) -> None:
    said = asked_before_a_load(tmp_path, "llamacpp", f"http://{llama}", "gemma")
    assert said["health"]["up"]
    assert said["info"]["version"]
    (model,) = said["models"]
    assert model["parameters"] == "268M"
    assert model["context"] > 1000
    assert said["request"]["engine_timings"]["predicted_per_token_ms"] > 0
    assert 1 <= said["whole"]["output_tokens"] <= 8
    assert said["doctor"]["request"]["state"] == "ok"
