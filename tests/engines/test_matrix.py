"""A matrix of a real model in two quantisations: killed in the middle, gone on with, and read as a person would."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.accuracy.test_truth import CLI
from tests.cluster import llama, ollama
from tests.engines.test_local import living

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="llama.cpp's programs run in a root of their own")
SMALL = {"synthetic": {"inputTokens": {"mean": 16}, "seed": 7}}
USES = {
    "schemaVersion": "profiles/v1",
    "version": 1,
    "profiles": [
        {
            "name": "short", "about": "Short answers.", "use": "interactive", "counts": "documents",
            "each": {depth: {"requestCount": 14} for depth in ("quick", "standard", "full")},
            "parts": [
                {"name": "small", "context": 512, "workload": {"dataset": SMALL, "maxOutputTokens": 6}},
                {"name": "beyond", "context": 65536, "workload": {"dataset": SMALL, "maxOutputTokens": 6}},
            ],
        },
        {
            "name": "tests", "about": "A few tests.", "use": "quality", "kind": "quality",
            "each": {depth: {"requestCount": 5} for depth in ("quick", "standard", "full")},
            "parts": [{"context": 512, "workload": {"dataset": {"tests": {"name": "general"}}, "maxOutputTokens": 6}}],
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two quantisations and a file that was cut off."""
    folder = tmp_path_factory.mktemp("models")
    for word, path in llama.quantised().items():
        if word in ("Q4_K_M", "Q8_0"):
            os.link(path, folder / f"{word}.gguf") if path.stat().st_dev == folder.stat().st_dev else (
                folder / f"{word}.gguf"
            ).symlink_to(path)
    (folder / "broken.gguf").write_bytes((folder / "Q8_0.gguf").read_bytes()[:200_000])
    (folder / "uses.yaml").write_text(yaml.safe_dump(USES))
    return folder


def command(models: Path, out: Path, *more: str) -> list[str]:
    return [
        *CLI,
        "matrix",
        str(models),
        "--quick",
        "--own-profiles",
        str(models / "uses.yaml"),
        "--output-dir",
        str(out),
        *more,
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{llama.programs()}:{os.environ['PATH']}", "COLUMNS": "80"}


def states(out: Path) -> dict[str, Any]:
    found = list(out.glob("*/matrix.json"))
    return {each["name"]: each for each in json.loads(found[0].read_text())["cells"]} if found else {}


def test_a_killed_matrix_goes_on_where_it_was_and_repeats_no_finished_cell(models: Path, tmp_path: Path) -> None:
    """SIGKILL in the second cell; then whole."""
    with subprocess.Popen(
        command(models, tmp_path), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        limit = time.monotonic() + 240
        while not [each for each in states(tmp_path).values() if each["state"] == "running"] or not _done(tmp_path):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < limit, states(tmp_path)
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    (first,) = _done(tmp_path)
    before = next(tmp_path.glob(f"*/runs/{first}/result.json")).read_bytes()
    _gone()
    done = subprocess.run(
        command(models, tmp_path, "--resume"),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert "6 cells, 1 done before" in done.stderr
    assert next(tmp_path.glob(f"*/runs/{first}/result.json")).read_bytes() == before
    assert len(list(tmp_path.glob("*/matrix.json"))) == 1
    _gone()
    _is_whole(tmp_path, done.stdout, done.stderr)


def _is_whole(out: Path, shown: str, told: str) -> None:
    result = json.loads(next(out.glob("*_results.json")).read_text())
    rows = {row["cell"]: row for row in result["rows"]}
    assert [row["quantization"] for row in result["rows"]] == ["Q4_K_M"] * 3 + ["Q8_0"] * 3
    for word in ("q4-k-m", "q8-0"):
        short, tests, beyond = (rows[f"gemma-3-270m-{word}-{use}"] for use in ("short-small", "tests", "short-beyond"))
        assert (short["state"], tests["state"], beyond["state"]) == ("done", "done", "skipped")
        assert beyond["reason"] == "it asks for 65,536 tokens of context, and the model was made for 32,768"
        assert (short["requests"], short["failed"], tests["asked"]) == (14, 0, 5)
        assert short["tokens_per_s"] == pytest.approx(1 / short["tpot_mean_s"])
        assert short["per_hour"] > 0
        assert short["kept"] is not None
        assert short["held_bytes"] == pytest.approx(short["needed_bytes"], rel=0.1)
        assert 0 < short["load_s"] < 120
    assert {each["use"] for each in result["recommendations"]} >= {"short"}
    assert any("no chat template" in warning for warning in result["warnings"])
    with next(out.glob("*_results.csv")).open() as file:
        assert [row["cell"] for row in csv.DictReader(file)] == list(rows)
    page = next(out.glob("*_report.html")).read_text()
    assert "What to choose" in page
    assert "--heat:100%" in page
    assert "left out: " in told
    assert "broken.gguf" in told
    assert max(map(len, shown.splitlines())) <= 80


def _done(out: Path) -> list[str]:
    return [name for name, each in states(out).items() if each["state"] == "done"]


def _gone() -> None:
    """No server outlives the matrix, however that ended."""
    limit = time.monotonic() + 15
    while any(name in living() for name in ("Q4_K_M.gguf", "Q8_0.gguf")) and time.monotonic() < limit:
        time.sleep(0.2)
    assert not any(name in living() for name in ("/Q4_K_M.gguf", "/Q8_0.gguf"))


def test_a_model_that_is_too_slow_is_found_by_its_trial_and_costs_no_more(models: Path, tmp_path: Path) -> None:
    """With a limit that no model meets; a larger quantisation is another matter and is tried by itself."""
    words = command(
        models,
        tmp_path,
        "--quants",
        "Q8_0",
        "--profiles",
        "short",
        "--tokens-per-s",
        "100000",
        "--log-level",
        "warning",
    )
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 5
    (row, beyond) = json.loads(next(tmp_path.glob("*_results.json")).read_text())["rows"]
    assert row["state"] == "failed"
    assert "tokens/s, below 100000" in row["reason"]
    assert beyond["state"] == "skipped"
    assert not list(tmp_path.glob("*/runs/*"))
    assert row["reason"] in " ".join(done.stderr.split())


def test_two_ways_to_start_the_server_are_compared(models: Path, tmp_path: Path) -> None:
    words = command(
        models, tmp_path, "--quants", "Q8_0", "--profiles", "short", "--threads", "1,2", "--log-level", "warning"
    )
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    result = json.loads(next(tmp_path.glob("*_results.json")).read_text())
    measured = {row["way"]: row for row in result["rows"] if row["state"] == "done"}
    assert {way: row["threads"] for way, row in measured.items()} == {"t1": 1, "t2": 2}
    (settings,) = [each for each in result["recommendations"] if each["use"] == "settings"]
    fastest = max(measured, key=lambda way: measured[way]["tokens_per_s"])
    assert settings["why"].startswith(f"{fastest}: ")
    assert len(list(tmp_path.glob("*/servers/*/llama-server-*.log"))) == 2, "each keeps its own"


def test_an_ollama_serves_a_matrix_too_and_leaves_no_copy_of_a_model(models: Path, tmp_path: Path) -> None:
    words = command(models, tmp_path, "--engine", "ollama", "--quants", "Q8_0", "--profiles", "short", "--log-level", "warning")  # fmt: skip
    env = environment() | {"PATH": f"{ollama.program().parent}:{os.environ['PATH']}"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    result = json.loads(next(tmp_path.glob("*_results.json")).read_text())
    assert result["settings"]["server"] == "ollama"
    assert result["machine"]["engine_version"] == ollama.VERSION
    (row, beyond) = result["rows"]
    assert (row["state"], row["requests"], beyond["state"]) == ("done", 14, "skipped")
    assert row["held_bytes"] > 2 * 10**8, "with the process that Ollama started"
    assert list(tmp_path.glob("*/servers/*/ollama-*.log"))
    assert list(tmp_path.glob("*/servers/*/ollama-models-*")) == []
