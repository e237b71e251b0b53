"""Baselines in a folder: what may be promoted, that all are kept, that the newest counts; and the list of runs."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench_runner.cli import main
from bench_runner.index.documents import as_csv, markdown
from bench_runner.index.listing import Wanted, rows, since_of
from tests.support.comparable import a_comparable, a_repetition
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult, Verdict


def a_run(name: str, repetitions: int = 3, verdict: str = "valid") -> RunResult:
    reps = [a_repetition(k, {"ttft": [0.1 + 0.0001 * n for n in range(600)]}) for k in range(repetitions)]
    found = a_comparable(name, *reps)
    return found.model_copy(update={"verdict": Verdict(state=verdict)})


def stored(folder: Path, result: RunResult) -> str:
    path = folder / result.run.name
    path.mkdir(parents=True)
    (path / "result.json").write_text(json.dumps(result.snake()))
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_newest_promotion_counts_and_all_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--in", str(tmp_path / "baselines"))
    first, second = (stored(tmp_path, a_run(name)) for name in ("first", "second"))
    assert said(capsys, "baseline", "set", "prod", first, *where)[0] == 0
    assert said(capsys, "baseline", "set", "prod", second, "--why", "new engine", *where)[0] == 0
    shown = json.loads(said(capsys, "baseline", "show", "prod", *where)[1])
    assert [(each["run"], each["why"]) for each in shown] == [("first", ""), ("second", "new engine")]
    assert "second" in said(capsys, "baseline", "list", *where)[1]
    assert "(1 before)" in said(capsys, "baseline", "list", *where)[1]
    code, out, err = said(
        capsys, "compare", "baseline:prod", first, "--baselines", where[1], "--gate", "ttft:p50", "--format", "json"
    )
    assert (code, json.loads(out)["baseline"]["name"]) == (0, "second"), err


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (a_run("few", repetitions=2), "has 2 repetitions; a baseline needs 3"),
        (a_run("bad", verdict="invalid"), "is invalid: only a valid run becomes a baseline"),
        (a_run("worn", verdict="degraded"), "is degraded: only a valid run becomes a baseline"),
    ],
)
def test_what_is_no_baseline_is_refused(
    run: RunResult, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, "baseline", "set", "prod", stored(tmp_path, run), "--in", str(tmp_path / "b"))
    assert code == 2
    assert sentence in err


def test_an_unknown_baseline_is_named_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored(tmp_path, a_run("first"))
    said(capsys, "baseline", "set", "prod", run, "--in", str(tmp_path / "b"))
    code, _, err = said(capsys, "compare", "baseline:prd", run, "--baselines", str(tmp_path / "b"))
    assert (code, "there is no baseline prd" in err, "there is: prod" in err) == (2, True, True)


def test_runs_are_listed_and_filtered(tmp_path: Path) -> None:
    for run in (a_run("one"), a_run("two", verdict="invalid")):
        stored(tmp_path, run)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text("{}")
    assert {row.name for row in rows(str(tmp_path), Wanted())} == {"one", "two"}
    assert [row.name for row in rows(str(tmp_path), Wanted(status="invalid"))] == ["two"]
    assert rows(str(tmp_path), Wanted(engine="vllm")) == []
    now = datetime(2030, 1, 8, tzinfo=UTC)
    assert len(rows(str(tmp_path), Wanted(since=since_of("1w", now)))) == 2
    assert rows(str(tmp_path), Wanted(since=since_of("6d", now))) == []


def test_the_index_holds_every_run_in_both_files(tmp_path: Path) -> None:
    stored(tmp_path, a_run("one"))
    found = rows(str(tmp_path), Wanted())
    assert "| valid |" in markdown(found, "results")
    table = list(csv.DictReader(as_csv(found).splitlines()))
    assert (table[0]["name"], table[0]["repetitions"]) == ("one", "3")


@pytest.mark.parametrize("text", ["yesterday", "7", "d7"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write 12h, 7d, or a date"):
        since_of(text, datetime.now(UTC))
