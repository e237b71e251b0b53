"""`tokenmark runs`: the runs of a folder, a store or a cluster; and their index as files."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import typer

runs = typer.Typer(help="The runs of a folder, a store or a cluster.", invoke_without_command=True)


@runs.callback()
def list_(
    context: typer.Context,
    where: str = typer.Option(
        "results",
        "--in",
        help="A folder, s3://bucket/prefix (gs://, az://), namespace:NAME, or cluster.",
        envvar="TOKENMARK_OUT",
        show_envvar=False,
    ),
    engine: str | None = typer.Option(None, help="Only runs of this engine."),
    since: str | None = typer.Option(None, help="Only those begun since: 12h, 7d, or a date."),
    campaign: str | None = typer.Option(
        None, help="Only those of this campaign (label tokenmark.dev/campaign, or --label campaign=…)."
    ),
    provider: str | None = typer.Option(None, help="Only those of this provider."),
    status: str | None = typer.Option(
        None, help="Completed, Interrupted, a reason; or a verdict: valid, degraded, invalid."
    ),
    output: Literal["table", "json", "csv"] = typer.Option("table", "--format", help="What is printed."),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """List runs, newest first."""
    from ..index.documents import as_csv
    from ..index.listing import Wanted, rows, since_of

    at = since_of(since, datetime.now(UTC)) if since else None
    found = rows(where, Wanted(engine, at, campaign, provider, status), store_endpoint, store_region)
    context.obj = (where, found, (store_endpoint, store_region))
    if context.invoked_subcommand is not None:
        return
    if output == "json":
        import json

        print(json.dumps([asdict(row) for row in found], indent=2))
    elif output == "csv":
        sys.stdout.write(as_csv(found))
    else:
        for row in found:
            print(
                f"{row.started_at[:16]}  {row.verdict:<8} {row.status:<11} {row.id}  {row.engine} {row.model}  {row.workload} {row.stages}  {row.provider}".rstrip()
            )
        print(f"{len(found)} runs", file=sys.stderr)


@runs.command()
def index(
    context: typer.Context,
    out: Path = typer.Option(Path(), help="Folder for dataset_index.md and dataset_index.csv."),
) -> None:
    """Write the list as dataset_index.md and dataset_index.csv."""
    from ..index.documents import as_csv, markdown
    from ..storage.text_file import write_text

    where, found, _ = context.obj
    for name, text in (("dataset_index.md", markdown(found, where)), ("dataset_index.csv", as_csv(found))):
        write_text(out / name, text, f"--out {out}")
        print(out / name)


@runs.command()
def trend(
    context: typer.Context,
    metric: str = typer.Option("ttft:p50", help="METRIC:STATISTIC such as tpot:p99, or output_tokens_per_s."),
    min_effect: float = typer.Option(5.0, min=0.1, max=100, help="Smallest change that is named, in per cent."),
    output: Literal["table", "json"] = typer.Option("table", "--format", help="What is printed."),
) -> None:
    """Say where a number moved over time: a series for every provider, workload, model and stage of the same fingerprint.

    A change is named where the runs before it and after it differ by --min-effect at least and chance does so much in one
    series of a hundred at most; it takes two runs on either side.
    """
    from ..config.sources import find_result
    from ..index.trend import series_of
    from ..reports.trend import trend_lines

    _, found, store = context.obj
    held = ((row.id, find_result(row.id, *store)) for row in found if row.verdict not in ("invalid", "unknown"))
    series = series_of(held, metric, min_effect / 100)
    if output == "json":
        import json

        print(json.dumps([asdict(each) for each in series], indent=2))
        return
    for line in trend_lines(series, metric):
        print(line)
