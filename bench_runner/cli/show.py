"""`tokenmark show`: a run's result, as `run` printed it."""

from __future__ import annotations

import json
from typing import Literal

import typer

SOURCE = "A run's folder or result.json, a store's address, NAMESPACE/NAME of a run in the cluster, or baseline:NAME."


def show(
    run: str = typer.Argument(..., help=SOURCE),
    output: Literal["table", "json"] = typer.Option("table", "--format", help="What is printed."),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """Show a result again: the table, or the whole document.

    Example: tokenmark show bench/first-run
    """
    from ..config.sources import find_result
    from ..reports.table import print_result

    result = find_result(run, store_endpoint, store_region)
    if output == "table":
        print_result(result)
    else:
        print(json.dumps(result.snake(), indent=2))
