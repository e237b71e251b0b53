"""`tokenmark export`: a run's result in the formats of other tools."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import typer

from tokenmark_schemas.errors import InvalidInput

SOURCE = "A run's folder or result.json, s3://bucket/key (gs://, az://), NAMESPACE/NAME of a run in the cluster, or baseline:NAME."
Format = Literal["csv", "jsonl", "parquet", "openmetrics", "benchmark-report", "record"]


def export(
    runs: list[str] = typer.Argument(..., help=SOURCE),
    format: Format = typer.Option("csv", help="What is written; record is benchmark-output/v1."),
    rows: Literal["metrics", "requests"] = typer.Option(
        "metrics", help="Of csv, jsonl and parquet: a row a statistic, or a row a request (of run folders alone)."
    ),
    out: Path | None = typer.Option(None, help="File to write; of benchmark-report a folder. Printed if unsaid."),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """Write runs as CSV, JSON lines, Parquet, OpenMetrics, or llm-d Benchmark Reports.

    CSV, JSON lines and Parquet hold one table over all runs that are named; docs/results.md lists the columns.
    """
    from ..config.sources import find_result

    if format in ("csv", "jsonl", "parquet"):
        from ..formats.tables import METRIC_COLUMNS, REQUEST_COLUMNS, metric_rows

        if rows == "requests":
            write_table(format, REQUEST_COLUMNS, _requests(runs), out)
        else:
            results = [find_result(run, store_endpoint, store_region) for run in runs]
            write_table(format, METRIC_COLUMNS, (row for each in results for row in metric_rows(each)), out)
        return
    if rows == "requests":
        raise InvalidInput(f"--rows requests is for csv, jsonl and parquet; {format} has no requests")
    _write_documents(format, [find_result(run, store_endpoint, store_region) for run in runs], out)


def write_table(format: str, columns: Mapping[str, type], found: Iterable[dict[str, Any]], out: Path | None) -> None:
    """To a file, or printed; Parquet to a file alone."""
    if format == "parquet":
        from ..formats.parquet import write_parquet

        if out is None:
            raise InvalidInput("--format parquet is no text: give --out FILE.parquet")
        write_parquet(out, columns, found)
        return
    from ..formats.tables import as_csv, as_jsonl
    from ..storage.text_file import write_pieces

    pieces = as_csv(columns, found) if format == "csv" else as_jsonl(found)
    if out is None:
        sys.stdout.writelines(pieces)
    else:
        write_pieces(out, pieces, f"--out {out}")


def _requests(runs: Iterable[str]) -> Iterator[dict[str, Any]]:
    from ..formats.tables import request_rows
    from ..run.delivery import RunFiles
    from ..run.kept import read_kept
    from ..storage.request_log import read_log

    for source in runs:
        files = read_kept(source)
        if not isinstance(files, RunFiles) or files.requests is None:
            raise InvalidInput(f"{source} has no request log; --rows requests takes a run's folder")
        yield from request_rows(files.result.run.name, read_log(files.requests, source))


def _write_documents(format: str, results: list[Any], out: Path | None) -> None:
    from ..storage.text_file import write_text

    if format == "openmetrics":
        from ..formats.openmetrics import openmetrics

        texts = {"": openmetrics(results)}
    elif format == "record":
        import json

        from ..formats.north_south import north_south

        records = [north_south(each).snake() for each in results]
        texts = {"": json.dumps(records if len(records) > 1 else records[0], indent=2) + "\n"}
    else:
        from ..formats.benchmark_report import benchmark_reports

        names = [each.run.name for each in results]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InvalidInput(
                f"several runs are called {', '.join(twice)}, and so would be their files; export them into folders of their own"
            )
        texts = {name: text for each in results for name, text in benchmark_reports(each).items()}
    if out is None:
        sys.stdout.write("---\n".join(texts.values()))
        return
    for name, text in texts.items():
        write_text(out / name if name else out, text, f"--out {out}")
        print(out / name if name else out)
