"""What a run left, shown again: table, summary, log; and watching one that is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import tokenmark
from tests.support.results import a_result


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "result.json").write_text(json.dumps(a_result().snake()))
    (tmp_path / "runner.log").write_text("2030-01-01T00:00:00Z warmup\n2030-01-01T00:01:00Z done\n")
    return tmp_path


def test_the_table_the_document_and_the_summary(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenmark("show", str(run)) == 0
    assert "verdict   valid" in capsys.readouterr().out
    assert tokenmark("show", str(run), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == a_result().snake()
    assert tokenmark("summary", str(run)) == 0
    assert "repetitions" not in json.loads(capsys.readouterr().out)["stages"][0]


def test_the_summary_of_a_sweep_is_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "summary.json").write_text('[{"run": "a"}]\n')
    assert tokenmark("summary", str(tmp_path)) == 0
    assert json.loads(capsys.readouterr().out) == [{"run": "a"}]
    assert tokenmark("summary", str(tmp_path / "nowhere")) == 2


def test_the_log_of_a_folder_and_of_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenmark("logs", str(run)) == 0
    assert capsys.readouterr().out.endswith("done\n")
    assert tokenmark("logs", str(run / "nowhere.txt")) == 2
    assert "is neither a folder nor NAMESPACE/NAME" in capsys.readouterr().err


def test_watching_a_run_that_is_over_ends_with_its_result(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenmark("watch", str(run)) == 0
    said = capsys.readouterr()
    assert "verdict   valid" in said.out
    assert said.err.endswith("done\n")


def test_one_that_is_under_way_is_not_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = a_result().snake()
    document["run"]["interrupted"] = True
    (run / "result.json").write_text(json.dumps(document))
    assert tokenmark("watch", str(run), "--timeout", "1") == 5
    assert "is not over after 1 s" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["ended: verdict invalid, interrupted by SIGINT", "failed: no request succeeded"])
def test_one_that_was_cut_short_is_over_and_did_not_succeed(run: Path, end: str) -> None:
    document = a_result().snake()
    document["run"]["interrupted"] = True
    (run / "result.json").write_text(json.dumps(document))
    (run / "runner.log").write_text(f"2030-01-01T00:00:00Z warmup\n2030-01-01T00:01:00Z {end}\n")
    assert tokenmark("watch", str(run), "--timeout", "60") == 5
