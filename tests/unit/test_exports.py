"""A run in other tools' formats: each read back by a reader that is not ours, and every number found where it came from."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench_runner.formats.benchmark_report import benchmark_reports
from bench_runner.formats.openmetrics import SERIES, openmetrics
from bench_runner.formats.tables import METRIC_COLUMNS, REQUEST_COLUMNS, metric_rows
from bench_runner.storage.request_log import request_row
from tests.support.builders import a_sample
from tests.support.commands import tokenmark
from tests.support.results import a_result
from tokenmark_operator.telemetry.runs import RUN, run_metrics
from tokenmark_schemas.result import RunResult

NOW = 1_893_456_060.0  # when a_result ended


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder: 200 equal answers of which the log has three, one of them failed."""
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(a_result().snake()))
    rows = [request_row(sample, chunks=False) for sample in _samples()]
    (folder / "requests.jsonl.gz").write_bytes(
        gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    )
    return folder


def _samples() -> Iterator[Any]:
    from bench_runner.samples.sample import Failure

    for k in range(3):
        failure = Failure("timeout", "none came") if k == 2 else None
        yield a_sample(seq=k, id=f"r{k}", due_ns=10**9 * k, ready_ns=10**9 * k + 1000, failure=failure)


def of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def figure(result: RunResult, metric: str, statistic: str) -> Any:
    stage = result.stages[0]
    if statistic == "value":
        done = stage.requests
        rates = {"success_rate": done.succeeded / (done.succeeded + done.failed), "goodput": stage.goodput}
        return rates[metric] if metric in rates else getattr(stage.throughput, metric)
    holder: Any = {"requests": stage.requests, "tokens": stage.tokens}.get(metric) or stage.metrics[metric]
    return getattr(holder, statistic)


def test_a_row_a_statistic_holds_what_the_result_holds_and_nothing_where_it_holds_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenmark("export", str(run)) == 0
    rows = of_csv(capsys.readouterr().out)
    result = a_result()
    assert list(rows[0]) == list(METRIC_COLUMNS)
    assert len(rows) > 80
    for row in rows:
        assert float(row["value"]) == figure(result, row["metric"], row["statistic"]), row
    assert {("ttft", "p50"), ("output_tokens_per_s", "value"), ("requests", "due")} <= {
        (r["metric"], r["statistic"]) for r in rows
    }
    assert result.stages[0].metrics["ttft"].p999 is None
    assert not [row for row in rows if (row["metric"], row["statistic"]) == ("ttft", "p999")]


def test_the_three_tables_say_the_same(run: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for kind, name in (("csv", "m.csv"), ("jsonl", "m.jsonl"), ("parquet", "m.parquet")):
        assert tokenmark("export", str(run), "--format", kind, "--out", str(tmp_path / name)) == 0
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert pq.read_table(tmp_path / "m.parquet").to_pylist() == lines == list(metric_rows(a_result()))
    for row, line in zip(of_csv((tmp_path / "m.csv").read_text()), lines, strict=True):
        assert row == {
            key: "" if value is None else repr(value) if isinstance(value, float) else str(value)
            for key, value in line.items()
        }


def test_the_record_of_a_request_has_eighteen_columns(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    assert tokenmark("export", str(run), "--rows", "requests", "--format", "jsonl") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(row) for row in rows] == [list(REQUEST_COLUMNS)] * 3
    assert len(REQUEST_COLUMNS) == 18
    first = next(iter(_samples()))
    assert rows[0]["ttft_s"] == (first.content_ns[0] - first.sent_ns) / 1e9
    assert rows[0]["tpot_s"] == pytest.approx(
        (first.content_ns[-1] - first.content_ns[0]) / 1e9 / (first.output_tokens - 1)
    )
    assert [row["due_s"] for row in rows] == [0.0, 1.0, 2.0]
    assert (rows[2]["error"], rows[2]["ttft_s"], rows[2]["e2e_s"]) == ("timeout", None, None)
    assert (
        tokenmark("export", str(run), "--rows", "requests", "--format", "parquet", "--out", str(tmp_path / "r.parquet"))
        == 0
    )
    table = pq.read_table(tmp_path / "r.parquet")
    assert table.to_pylist() == rows
    assert str(table.schema.field("status").type) == "int64"


def test_two_runs_are_one_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenmark("export", str(run), str(run)) == 0
    text = capsys.readouterr().out
    assert text.count(",".join(METRIC_COLUMNS)) == 1
    assert len(of_csv(text)) == 2 * len(list(metric_rows(a_result())))


def test_openmetrics_is_read_by_prometheus_own_parser_and_named_as_the_operator_names_it() -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    result = a_result()
    families = {family.name: family for family in text_string_to_metric_families(openmetrics([result]))}
    named = {family.name: {label for sample in family.samples for label in sample.labels} for family in run_metrics([])}
    for name, (_, own) in SERIES.items():
        assert f"tokenmark_run_{name}" in named
        for sample in families[f"tokenmark_run_{name}"].samples:
            assert set(sample.labels) == {*RUN, *own}
            assert float(sample.timestamp) == NOW
    p50 = next(s for s in families["tokenmark_run_ttft_seconds"].samples if s.labels["quantile"] == "0.5")
    assert p50.value == result.stages[0].metrics["ttft"].p50
    assert (p50.labels["run"], p50.labels["run_namespace"], p50.labels["stage"]) == ("demo", "bench", "c1")


def test_a_benchmark_report_is_taken_by_the_format_s_own_model() -> None:
    import yaml
    from llmd_benchmark_report.schema_v0_2 import BenchmarkReportV02

    result = a_result()
    name, text = next(iter(benchmark_reports(result).items()))
    assert name == "benchmark_report_v0.2,_demo_c1.yaml"
    report = BenchmarkReportV02(**yaml.safe_load(text))
    found = report.results.request_performance.aggregate
    stage = result.stages[0]
    assert found.latency.time_to_first_token.mean == stage.metrics["ttft"].mean
    assert found.latency.time_to_first_token.p99 == stage.metrics["ttft"].p99
    assert found.latency.time_per_output_token.p50 == stage.metrics["tpot"].p50
    assert found.latency.request_latency.max == stage.metrics["e2e"].max
    assert (found.requests.total, found.requests.failures, found.requests.incomplete) == (200, 0, 0)
    assert found.throughput.request_rate.mean == stage.throughput.requests_per_s
    assert found.requests.output_length.mean == stage.tokens.output / 200
    assert report.scenario.load.standardized.concurrency == 1
    assert report.scenario.load.native.config["verdict"]["state"] == "valid"
    assert "null" not in text
    assert benchmark_reports(result) == benchmark_reports(result)  # ids are of what they name


def test_a_report_of_nothing_measured_leaves_out_what_has_no_mean() -> None:
    import yaml
    from llmd_benchmark_report.schema_v0_2 import BenchmarkReportV02

    whole = a_result()
    stage = whole.stages[0]
    empty = stage.model_copy(
        update={"metrics": {name: stat.model_copy(update={"mean": None, "count": 0}) for name, stat in stage.metrics.items()},
                "tokens": stage.tokens.model_copy(update={"prompt": None})}
    )  # fmt: skip
    text = next(iter(benchmark_reports(whole.model_copy(update={"stages": [empty]})).values()))
    report = BenchmarkReportV02(**yaml.safe_load(text))
    assert report.results.request_performance.aggregate.latency is None
    assert report.scenario.load is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "parquet"], "give --out FILE.parquet"),
        (["--format", "openmetrics", "--rows", "requests"], "--rows requests is for csv, jsonl and parquet"),
        (["--format", "csv", "--out", "/dev/null/x.csv"], "--out /dev/null/x.csv: File exists"),
        (["--format", "parquet", "--out", "/dev/null/x.parquet"], "--out /dev/null/x.parquet"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_a_sentence(
    run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenmark("export", str(run), *words) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_its_requests_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "requests.jsonl.gz").unlink()
    assert tokenmark("export", str(run), "--rows", "requests") == 2
    assert "holds no requests.jsonl.gz; was it run with --detail summary?" in capsys.readouterr().err
