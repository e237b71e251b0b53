"""Pictures: their points are the result's, and what is drawn is a picture with text in it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from bench_runner import cli
from bench_runner.reports.page.files import Run
from bench_runner.reports.plots import plot_files, specifications
from tests.support.results import a_result
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.workload import Stage


def at_loads(*streams: int) -> RunResult:
    """Each load with its own figures: tokens/s of ten a stream."""
    found = a_result()
    one = found.stages[0]
    stages = [
        one.model_copy(
            update={"name": f"c{n}", "load": Stage(name=f"c{n}", concurrency=n, request_count=200),
                    "throughput": one.throughput.model_copy(update={"output_tokens_per_s": 10.0 * n})}
        )
        for n in streams
    ]  # fmt: skip
    return found.model_copy(update={"stages": stages})


def test_points_are_the_result_s_own() -> None:
    result = at_loads(1, 4, 16)
    specs = dict(specifications([Run("x", result)]))
    assert set(specs) == {
        "throughput",
        "ttft-by-load",
        "pareto",
        "ttft-percentiles",
        "tpot-percentiles",
        "e2e-percentiles",
    }
    points = [(row["load"], row["rate"]) for row in specs["throughput"]["data"]["values"]]
    assert points == [(1.0, 10.0), (4.0, 40.0), (16.0, 160.0)]
    shown = {(row["load"], row["which"]): row["ms"] for row in specs["ttft-by-load"]["data"]["values"]}
    assert shown[4.0, "p50"] == 1000 * (result.stages[1].metrics["ttft"].p50 or 0)
    assert [row["all"] for row in specs["pareto"]["data"]["values"]] == [160.0]  # equal TPOT: the most tokens win
    assert specs["pareto"]["mark"]["interpolate"] == "step-before"


def test_one_load_has_no_curve_over_loads() -> None:
    assert set(dict(specifications([Run("x", a_result())]))) == {
        "ttft-percentiles",
        "tpot-percentiles",
        "e2e-percentiles",
    }


def test_they_are_drawn_without_a_browser_and_with_their_words() -> None:
    files = plot_files([Run("x", at_loads(1, 4))])
    for name, content in files.items():
        if name.endswith(".png"):
            assert content[:8] == b"\x89PNG\r\n\x1a\n"
            width, height = struct.unpack(">II", content[16:24])
            assert width > 1200
            assert height > 600
    text = files["throughput.svg"].decode()
    assert "output tokens/s" in text
    assert "streams" in text


def test_the_verb_puts_them_beside_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text(json.dumps(a_result().snake()))
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", str(tmp_path), "--out", str(tmp_path / "out"), "--plots"])
    assert not ended.value.code
    assert (tmp_path / "out" / "plots" / "ttft-percentiles.png").stat().st_size > 5000
    assert "plots/ttft-percentiles.svg" in capsys.readouterr().out
