"""A run that asks tests, against an engine whose knowledge is known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.accuracy.test_truth import CLI, healthy
from tests.support.knowing import TESTS, WRONG, Knowing, server
from tests.support.serving import in_thread


@pytest.fixture
def engine() -> Iterator[str]:
    with server() as listening, in_thread(listening):
        yield f"http://127.0.0.1:{listening.server_port}"


def test_accuracy_is_what_the_engine_knows_and_stands_in_every_report(engine: str, tmp_path: Path) -> None:
    result = healthy(engine, tmp_path, "--workload", "quality")
    (stage,) = result["stages"]
    found = stage["quality"]
    assert (found["asked"], found["right"], found["unanswered"]) == (100, 90, 0)
    assert found["ci95"] == pytest.approx([0.826, 0.945], abs=0.001)
    assert {each["test"] for each in found["outcomes"] if each["right"] < each["asked"]} == WRONG
    assert {each["kind"]: each["asked"] for each in found["kinds"]} == {
        "format": 20,
        "logic": 24,
        "maths": 32,
        "reading": 24,
    }
    run = next(tmp_path.glob("*/t"))
    shown = subprocess.run([*CLI, "show", str(run)], capture_output=True, text=True, check=True).stdout
    assert "90 of 100 right (83 to 94 %)" in " ".join(shown.split())
    subprocess.run([*CLI, "report", str(run), "--out", str(tmp_path / "report")], capture_output=True, check=True)
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("I &lt;b&gt;cannot&lt;/b&gt; say.") == 10
    assert "<b>cannot" not in page


def test_too_few_right_answers_miss_an_objective_and_a_servers_faults_are_no_answers(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Knowing, "fails", True)
    words = [
        sys.executable, "-m", "bench_runner", "run", "--target", engine, "--model", "known", "--workload", "quality", "--quiet", "--out",
        str(tmp_path), "--name", "t", "--format", "json", "--objective", "accuracy:mean>=95%",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    found = result["stages"][0]["quality"]
    assert (found["asked"], found["right"], found["unanswered"]) == (97, 87, 3)
    (objective,) = result["objectives"]
    assert (objective["met"], objective["limit"], done.returncode) == ("false", 0.95, 3), done.stderr
    assert objective["value"] == pytest.approx(87 / 97)


def test_own_tests_from_a_file_are_judged(engine: str, tmp_path: Path) -> None:
    lines = [
        {"prompt": test.prompt, "kind": "own", "expect": test.expect.model_dump(exclude_none=True, by_alias=True)}
        for test in TESTS
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = healthy(
        engine, tmp_path, "--prompts", str(tmp_path / "own.jsonl"), "--concurrency", "1", "--requests", "100"
    )
    found = result["stages"][0]["quality"]
    assert (found["asked"], found["right"]) == (100, 90)
    assert {each["test"] for each in found["outcomes"]} == {f"line-{number}" for number in range(1, 101)}
