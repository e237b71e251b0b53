"""Steps of a RAG service under load: they are what the service did, and add up to TTFT, or what is left open has its own name."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.serving import simulated

MANIFEST: dict[str, Any] = {
    "apiVersion": "tokenmark.dev/v1alpha1",
    "kind": "BenchmarkRun",
    "metadata": {"name": "rag"},
    "spec": {
        "target": {"engine": "rag", "model": "sim", "endpoint": {"url": "http://x"}},
        "retrieval": {"k": 8, "docset": "handbook"},
        "workload": {"maxOutputTokens": 12, "dataset": {"synthetic": {"inputTokens": {"mean": 16}}}},
        "stages": [{"name": "c4", "concurrency": 4, "requestCount": 32}],
        "repetitions": 1,
    },
}


def measured(folder: Path, scenario: dict[str, Any], *words: str) -> dict[str, Any]:
    (folder / "s.yaml").write_text(yaml.safe_dump(scenario))
    (folder / "rag.yaml").write_text(yaml.safe_dump(MANIFEST))
    with simulated("--scenario", str(folder / "s.yaml")) as url:
        asked = ["run", str(folder / "rag.yaml"), "--target", url, "--out", str(folder), *words]
        done = subprocess.run([sys.executable, "-m", "bench_runner", *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, Any] = json.loads((folder / "rag" / "result.json").read_text())
    return found


# 5 + 12 + 400 ms: a hundredth of it is more than what two busy cores add
STEPS = {"embedding_ms": 5.0, "retrieval_ms": 12.0, "ttft_ms": 400.0, "itl_ms": 2.0, "retrieved": 8}


def test_steps_add_up_to_ttft_within_a_hundredth_or_the_rest_is_a_step(tmp_path: Path) -> None:
    result = measured(tmp_path, STEPS)
    (stage,) = result["stages"]
    assert {name: stage["steps"][name]["p50"] for name in ("embedding", "retrieval", "inference")} == pytest.approx(
        {"embedding": 0.005, "retrieval": 0.012, "inference": 0.4}
    )
    assert stage["retrieved"]["mean"] == 8
    with gzip.open(tmp_path / "rag" / "requests.jsonl.gz") as lines:
        rows = [json.loads(line) for line in lines]
    open_gaps = [
        abs(gap)
        for row in rows
        if (gap := 1 - sum(row["steps_s"].values()) / ((row["content_ns"][0] - row["sent_ns"]) / 1e9)) > 0.01
    ]
    assert len(open_gaps) < 0.2 * len(rows)
    assert ("other" in stage["steps"]) == bool(open_gaps)
    assert result["provenance"]["environment"]["k"] == "8"
    assert result["provenance"]["environment"]["docset"] == "handbook"


def test_a_queue_that_the_service_does_not_tell_is_the_step_other(tmp_path: Path) -> None:
    """Two slots for four clients: half of TTFT is a wait that no step explains."""
    stage = measured(tmp_path, {**STEPS, "ttft_ms": 40.0, "slots": 2})["stages"][0]
    told = sum(stage["steps"][name]["mean"] for name in ("embedding", "retrieval", "inference"))
    assert stage["steps"]["other"]["mean"] == pytest.approx(stage["metrics"]["ttft"]["mean"] - told, rel=1e-6)
    assert stage["steps"]["other"]["mean"] > 0.03


def test_an_answer_in_one_piece_tells_its_steps_too(tmp_path: Path) -> None:
    spec = MANIFEST["spec"]
    whole = {**MANIFEST, "spec": {**spec, "workload": {**spec["workload"], "streaming": False}}}
    (tmp_path / "whole").mkdir()
    try:
        MANIFEST.update(whole)
        stage = measured(tmp_path / "whole", STEPS)["stages"][0]
    finally:
        MANIFEST.update({**MANIFEST, "spec": spec})
    assert stage["steps"]["retrieval"]["p50"] == pytest.approx(0.012)
    assert stage["requests"]["failed"] == 0


def test_retrieval_with_an_engine_that_has_none_is_refused(tmp_path: Path) -> None:
    spec = {**MANIFEST["spec"], "target": {**MANIFEST["spec"]["target"], "engine": "openai"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**MANIFEST, "spec": spec}))
    done = subprocess.run(
        [sys.executable, "-m", "bench_runner", "run", str(tmp_path / "r.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "spec.retrieval: with engine openai; it is for rag" in done.stderr
