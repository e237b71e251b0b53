"""A real Ollama with a real model: our times against the counters that it sends with every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.accuracy.test_truth import healthy, rows, run
from tests.cluster import ollama
from tests.support.beforehand import asked_before_a_load

SHAPE = ("--engine", "ollama", "--model", ollama.MODEL, "--concurrency", "1")
MS = 1e6
SLACK_MS = 15.0  # of one answer, between the engine's clock and ours: HTTP, JSON and two cores for three programs
SLACK_SHARE = 0.1  # of an answer, where the machine is so slow that this is more


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ollama.serving(tmp_path_factory.mktemp("ollama")) as url:
        yield url


@pytest.fixture(
    scope="module", params=["", pytest.param("/api/generate", marks=pytest.mark.trial)], ids=["chat", "generate"]
)
def measured(
    server: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Result and requests of a healthy run over one of its routes: of three tries the first in which engine and client had their cores."""
    for _ in range(3):
        out = tmp_path_factory.mktemp("run")
        flags = (*SHAPE, "--requests", "100", "--input-tokens", "12", "--max-output-tokens", "6")
        result = healthy(server + request.param, out, *flags)
        found = rows(max(out.iterdir()))  # of its chances the last
        if median(_behind_ms(row) for row in found) < _slack_ms(found):
            break
    return result, found


def _behind_ms(row: dict[str, Any]) -> float:
    """How long after the engine's own end an answer ended here."""
    return (row["end_ns"] - row["sent_ns"] - row["engine_timings"]["total_duration_ns"]) / MS


def _slack_ms(found: list[dict[str, Any]]) -> float:
    whole = median(row["engine_timings"]["total_duration_ns"] for row in found) / MS
    return max(SLACK_MS, SLACK_SHARE * whole)


def test_every_answer_is_whole_and_counted_by_the_engine(measured: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    result, found = measured
    stage = result["stages"][0]
    assert stage["requests"]["errors"] == {}
    assert stage["requests"]["succeeded"] == len(found) == 100
    assert stage["tokens"]["output_source"] == "usage"
    assert stage["tokens"]["mismatches"] == 0
    assert stage["tokens"]["prompt"] > 12 * 80
    engine = result["provenance"]["engine"]
    assert (engine["version"], engine["served_model"]) == (ollama.VERSION, f"{ollama.MODEL}:latest")


def test_our_times_are_the_engines_own(measured: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    _, found = measured
    ends, firsts, paces = [], [], []
    for row in found:
        engine, content = row["engine_timings"], row["content_ns"]
        ends.append(_behind_ms(row))
        before_first = engine["load_duration_ns"] + engine["prompt_eval_duration_ns"]
        firsts.append((content[0] - row["sent_ns"] - before_first) / MS)
        if row["output_tokens"] > 4:
            paces.append(
                (content[-1] - content[0]) / engine["eval_duration_ns"]
            )  # both from the first token to the last
    assert min(ends) > -0.5, "nothing ends before the engine says that it did"
    assert median(ends) < _slack_ms(found)
    assert min(firsts) > -1.0, "no token comes before its prompt was read"
    a_token_ms = median(row["engine_timings"]["eval_duration_ns"] / row["output_tokens"] for row in found) / MS
    assert median(firsts) < a_token_ms + _slack_ms(found)
    assert median(paces) == pytest.approx(1.0, abs=0.25)


def test_what_a_person_asks_before_a_load_is_answered(server: str, tmp_path: Path) -> None:
    said = asked_before_a_load(tmp_path, "ollama", server, ollama.MODEL)
    assert said["health"]["up"]
    assert said["health"]["seconds"] < 1
    assert said["info"]["version"] == ollama.VERSION
    assert [model["id"] for model in said["models"]] == [f"{ollama.MODEL}:latest"]
    assert said["models"][0]["size_bytes"] > 10**8
    for which in ("request", "whole"):
        assert 1 <= said[which]["output_tokens"] <= 8
        assert said[which]["engine_timings"]["total_duration_ns"] > 0
    assert {said["doctor"][name]["state"] for name in ("engine", "model", "request")} == {"ok"}


@pytest.mark.trial
def test_a_conversation_finds_its_history_in_the_prefix_cache(server: str, tmp_path: Path) -> None:
    """Ollama counts the whole prompt each time and spends less on it."""
    flags = (*SHAPE, "--requests", "21", "--turns", "3",
             "--input-tokens", "60", "--max-output-tokens", "8")  # fmt: skip
    result = run(server, tmp_path, *flags)
    turns = result["stages"][0]["turns"]
    prompts = [turn["prompt_tokens"] for turn in turns]
    assert prompts == sorted(prompts)
    assert prompts[2] > prompts[0] + 100, "two questions and two answers more"
    spent: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for row in rows(tmp_path):
        spent[row["turn"]].append(row["engine_timings"]["prompt_eval_duration_ns"] / row["prompt_tokens"])
    assert median(spent[2]) < median(spent[0]), "a token of a known prefix costs less"


def test_a_model_that_is_not_there_fails_with_the_servers_own_words(server: str, tmp_path: Path) -> None:
    import subprocess

    from tests.accuracy.test_truth import CLI

    words = [
        *CLI,
        "run",
        "--target",
        server,
        "--engine",
        "ollama",
        "--model",
        "nope",
        "--out",
        str(tmp_path),
        "--quiet",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 5
    assert "model 'nope' not found" in done.stderr
