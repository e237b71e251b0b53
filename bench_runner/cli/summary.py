"""`tokenmark summary`: what a run or a sweep came to, for programs."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from .show import SOURCE


def summary(
    run: str = typer.Argument(..., help=f"{SOURCE} Or a sweep's folder."),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """Print a run's result without what is long, or a sweep's table, as JSON.

    Examples: tokenmark summary bench/first-run; tokenmark summary results/far-5f0c9a1e
    """
    from tokenmark_schemas.documents import read_text

    from ..config.sources import find_result
    from ..reports.page.files import Run, summary_of

    of_sweep = Path(run) / "summary.json"
    if of_sweep.is_file() and not (Path(run) / "result.json").exists():
        print(read_text(of_sweep), end="")
    else:
        print(json.dumps(summary_of(Run(run, find_result(run, store_endpoint, store_region))), indent=2))
