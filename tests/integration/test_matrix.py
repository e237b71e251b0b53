"""A matrix over servers whose worth is known: what it says of them is that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.accuracy.test_truth import CLI
from tests.cluster.debian import have
from tests.cluster.layout import TREE
from tests.support.gguf_files import write

PRICES = TREE / "deploy" / "cost" / "cost-config.example.yaml"
SERVER = '#!/bin/sh\ncd {tree} && exec {python} -m tests.support.knowing "$@"\n'
DEAD = "#!/bin/sh\necho 'failed to allocate the KV cache' >&2; exit 1\n"


def on_path(folder: Path, script: str) -> dict[str, str]:
    """The environment of a shell that finds this llama-server first."""
    program = folder / "bin" / "llama-server"
    program.parent.mkdir()
    program.write_text(script.format(tree=TREE, python=sys.executable))
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "COLUMNS": "80"}


def matrix(folder: Path, env: dict[str, str], *more: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    words = [*CLI, "matrix", str(folder / "models"), "--quick", "--output-dir", str(folder / "out"), *more]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=400)
    (found,) = (folder / "out").glob("*_results.json")
    return done, json.loads(found.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "models" / "a.gguf")
    return tmp_path


def test_speed_tests_code_and_price_of_a_known_server(folder: Path) -> None:
    have({"bwrap": "bubblewrap", "node": "nodejs", "npm": "npm"})
    more = ("--profiles", "interactive,batch,quality,code", "--cost", str(PRICES), "--provider", "laptop")
    done, result = matrix(folder, on_path(folder, SERVER), *more)
    assert done.returncode == 0, done.stderr
    rows = {row["profile"]: row for row in result["rows"]}
    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(
        ("interactive", "batch", "quality", "code"), "done"
    )
    assert rows["interactive"]["tpot_mean_s"] == pytest.approx(0.0043, abs=0.001)
    assert rows["batch"]["per_hour"] == pytest.approx(3600 / rows["batch"]["e2e_mean_s"], rel=1e-6)
    assert float(rows["batch"]["per_million_output_tokens"]) > 0
    assert (rows["quality"]["right"], rows["quality"]["asked"]) == (22, 25), "of the first 25 three are answered wrong"
    assert rows["code"]["code_score"] == pytest.approx((10 + 0.8 + 2) / 3, abs=1.5)
    assert rows["code"]["code_same"] == 1
    assert {each["use"] for each in result["recommendations"]} >= {"interactive", "batch", "quality", "balanced"}
    assert list((folder / "out").glob("*/runs/*-code/answers/counter-0.vue"))
    shown = " ".join(done.stdout.split())
    assert "22/25" in shown
    assert "/10" in shown


def test_a_server_that_dies_is_told_by_its_own_words_and_heavier_uses_are_left_out(folder: Path) -> None:
    done, result = matrix(
        folder, on_path(folder, DEAD), "--profiles", "long-context,interactive", "--log-level", "warning"
    )
    assert done.returncode == 5
    rows = {(row["profile"], row["part"]): row for row in result["rows"]}
    assert rows["interactive", None]["state"] == "failed"
    assert "too little memory: failed to allocate the KV cache" in rows["interactive", None]["reason"]
    assert rows["long-context", "4k"]["state"] == "failed"
    assert {rows["long-context", part]["state"] for part in ("8k", "16k", "32k")} == {"skipped"}
    assert "too little memory" in done.stderr


def test_ones_own_uses_with_data_of_ones_own(folder: Path) -> None:
    use = {
        "name": "support", "about": "Our questions.", "use": "interactive",
        "each": {depth: {"requestCount": 12} for depth in ("quick", "standard", "full")},
        "parts": [{"context": 1024, "workload": {"dataset": {"prompts": ["Where is my parcel?", "May I send it back?"]}, "maxOutputTokens": 20}}],
    }  # fmt: skip
    (folder / "own.yaml").write_text(yaml.safe_dump({"schemaVersion": "profiles/v1", "version": 1, "profiles": [use]}))
    done, result = matrix(folder, on_path(folder, SERVER), "--own-profiles", str(folder / "own.yaml"))
    assert done.returncode == 0, done.stderr
    (row,) = result["rows"]
    assert (row["profile"], row["requests"], row["verdict"]) == ("support", 12, "valid")
    assert row["kept"] == pytest.approx(1, abs=0.2)


def test_ctrl_c_in_the_middle_leaves_a_report_and_what_is_left_is_done_later(folder: Path) -> None:
    env = on_path(folder, SERVER)
    words = [
        *CLI,
        "matrix",
        str(folder / "models"),
        "--quick",
        "--profiles",
        "interactive,batch,quality",
        "--output-dir",
        str(folder / "out"),
    ]
    with subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as process:
        limit = time.monotonic() + 120
        while "done" not in states(folder) or "running" not in states(folder):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        shown, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    first = json.loads(next((folder / "out").glob("*_results.json")).read_text())
    assert first["interrupted"]
    assert sorted(row["state"] for row in first["rows"]) == ["done", "waiting", "waiting"]
    assert "gemma-3-270m" in shown
    done, result = matrix(folder, env, "--profiles", "interactive,batch,quality", "--resume")
    assert done.returncode == 0, done.stderr
    assert "1 done before" in done.stderr
    assert {row["state"] for row in result["rows"]} == {"done"}
    kept = {row["cell"]: row["ttft_mean_s"] for row in first["rows"] if row["state"] == "done"}
    assert {row["cell"]: row["ttft_mean_s"] for row in result["rows"] if row["cell"] in kept} == kept


def heeding() -> None:
    """Ctrl-C, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def states(folder: Path) -> list[str]:
    found = list((folder / "out").glob("*/matrix.json"))
    return [each["state"] for each in json.loads(found[0].read_text())["cells"]] if found else []


def test_without_a_server_to_start_nothing_is_begun(folder: Path) -> None:
    words = [*CLI, "matrix", str(folder / "models"), "--output-dir", str(folder / "out")]
    done = subprocess.run(words, env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert (done.returncode, "llama-server is not on PATH" in done.stderr) == (2, True)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quick", "--full"], "exclude each other"), (["--quants", "Q3_K"], "there are Q8_0"), (["--profiles", "chat"], "there are interactive"),
        (["--models", "other"], "has gemma-3-270m"), (["--threads", "many"], "--threads many"), (["--config", "none.yaml"], None),
    ],
)  # fmt: skip
def test_what_is_asked_in_vain_is_said_before_anything_is_started(
    folder: Path, words: list[str], said: str | None
) -> None:
    done = subprocess.run(
        [*CLI, "matrix", *([str(folder / "models")] if said else []), *words, "--output-dir", str(folder / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert (said or "none.yaml") in done.stderr
    assert not (folder / "out").exists()
