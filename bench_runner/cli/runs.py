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
    context.obj = (where, found)
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

    where, found = context.obj
    for name, text in (("dataset_index.md", markdown(found, where)), ("dataset_index.csv", as_csv(found))):
        write_text(out / name, text, f"--out {out}")
        print(out / name)
