"""One answer in round numbers under each tool's definition, and the verb that shows it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench_runner import cli
from bench_runner.formats.translate import TRANSLATIONS, translate
from tokenmark_schemas.errors import InvalidInput

MS = 1_000_000


def answer(**changes: Any) -> dict[str, Any]:
    """TTFT 1 s, 100 tokens in 100 chunks 10 ms apart, the stream closed 10 ms after the last; due 0.2 s before sent."""
    stamps = [1200 * MS + k * 10 * MS for k in range(100)]
    return {"stage": "c1", "error": None, "due_ns": 0, "sent_ns": 200 * MS, "content_ns": stamps, "chunks": 100,
            "end_ns": stamps[-1] + 10 * MS, "output_tokens": 100, **changes}  # fmt: skip


def prints(rows: list[dict[str, Any]]) -> dict[tuple[str, str], float | None]:
    return {(t.row.tool, t.row.word): t.p50_s for t in translate(rows, "c1")}


def test_the_same_answer_has_three_tpots() -> None:
    """The worked example of the survey: vLLM prints 10.0 ms, GuideLLM 19.9 ms."""
    found = prints([answer()])
    assert found["vLLM bench", "TPOT"] == pytest.approx(0.0100)
    assert found["GuideLLM", "TPOT"] == pytest.approx(0.0199)
    assert found["llmperf", "inter-token latency"] == pytest.approx(0.0199)
    assert found["inference-perf", "NTPOT"] == pytest.approx(0.0200)
    assert found["MLPerf LoadGen", "TTFT (Server)"] == pytest.approx(1.2)
    assert found["AIPerf", "TTFT"] == pytest.approx(1.0)
    assert found["GuideLLM", "request latency"] == pytest.approx(2.0)
    assert found["AIPerf", "request latency"] == pytest.approx(1.99)


def test_several_tokens_a_chunk_make_a_gap_that_is_no_inter_token_latency() -> None:
    stamps = [1200 * MS + k * 40 * MS for k in range(25)]
    found = prints([answer(content_ns=stamps, chunks=25, end_ns=stamps[-1])])
    assert found["vLLM bench", "ITL"] == pytest.approx(0.040)
    assert found["AIPerf", "ITL"] == pytest.approx(0.96 / 99)


def test_failed_answers_are_left_out_and_missing_chunks_are_said() -> None:
    found = prints([answer(content_ns=[1200 * MS, 2190 * MS]), answer(error={"class": "x"}, content_ns=[])])
    assert found["vLLM bench", "ITL"] is None
    assert found["vLLM bench", "TPOT"] == pytest.approx(0.0100)


def test_every_row_names_its_source_and_one_of_our_metrics() -> None:
    from bench_runner.samples.metrics import BY_ID

    assert all(row.ours in BY_ID and "/" in row.source and row.formula for row in TRANSLATIONS)


def test_the_verb_prints_a_table_of_80_columns_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "requests.jsonl.gz").write_bytes(gzip.compress(json.dumps(answer()).encode() + b"\n"))
    with pytest.raises(SystemExit):
        cli.main(["translate", str(tmp_path)])
    out = capsys.readouterr().out
    assert "19.9 ms" in out
    assert max(map(len, out.splitlines())) <= 80
    with pytest.raises(SystemExit):
        cli.main(["translate", str(tmp_path), "--format", "json"])
    assert len(json.loads(capsys.readouterr().out)["c1"]) == len(TRANSLATIONS)


@pytest.mark.parametrize(("content", "words"), [(None, "does not exist"), (b"no gzip", "is no request log")])
def test_what_is_no_log_is_said(tmp_path: Path, content: bytes | None, words: str) -> None:
    from bench_runner.cli.translate import _read

    if content is not None:
        (tmp_path / "requests.jsonl.gz").write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        _read(tmp_path / "requests.jsonl.gz")
