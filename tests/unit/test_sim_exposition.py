"""The simulator's own metrics pages, read by the parser that Prometheus's client library has."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench_runner.sim.beside import simulator_beside
from bench_runner.sim.scenario import Scenario


def ask(url: str, tokens: int) -> None:
    body = {"model": "sim", "stream": True, "max_tokens": tokens, "messages": [{"role": "user", "content": "a b c"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        answer.read()


def page(url: str) -> dict[tuple[str, str], float]:
    """(sample, its label of interest) -> value."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    return {
        (
            sample.name,
            sample.labels.get("stage") or sample.labels.get("finished_reason") or sample.labels.get("le", ""),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator_beside(Scenario(ttft_ms=10, itl_ms=2, embedding_ms=5, retrieval_ms=15, retrieved=7, slots=4)) as url:
        for _ in range(3):
            ask(url, 6)
        yield url


def test_vllms_names_are_served(url: str) -> None:
    found = page(f"{url}/metrics")
    assert found["vllm:generation_tokens_total", ""] == 18
    assert found["vllm:request_success_total", "length"] == 3
    assert found["vllm:time_to_first_token_seconds_count", ""] == 3
    assert 0.09 < found["vllm:time_to_first_token_seconds_sum", ""] < 0.2, (
        "ten milliseconds and two steps before them, thrice"
    )
    assert found["vllm:inter_token_latency_seconds_count", ""] == 15
    assert found["vllm:kv_cache_usage_perc", ""] == 0


def test_a_rag_backends_names_are_served_and_its_steps_add_up(url: str) -> None:
    found = page(f"{url}/metrics/rag")
    steps = {
        stage: found["rag_latency_seconds_sum", stage] for stage in ("embedding", "retrieval", "inference", "total")
    }
    assert (steps["embedding"], steps["retrieval"]) == (pytest.approx(0.015), pytest.approx(0.045))
    assert steps["embedding"] + steps["retrieval"] + steps["inference"] == pytest.approx(steps["total"])
    assert steps["inference"] >= 3 * 0.020 * 0.99
    assert found["rag_k_retrieved", ""] == 7
    assert found["rag_requests_total", ""] == 0, "the last of both: no error"
