"""`tokenmark rate`: what a person would call a run's numbers, for a use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import typer

from tokenmark_schemas.errors import InvalidInput

from .show import SOURCE


def rate(
    run: str = typer.Argument(..., help=SOURCE),
    use: str | None = typer.Option(
        None,
        help="chat, code-completion, rag, interactive, long-context, bulk, quality, batch, or one of --ratings; that of the run's workload if unsaid.",
    ),
    ratings: Path | None = typer.Option(None, help="A ratings/v1 file of your own."),
    output: Literal["table", "json"] = typer.Option("table", "--format", help="What is printed."),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """Say what numbers are worth for a use: excellent, good, acceptable, poor or failed, each with a sentence.

    The limits and where they are from stand in workloads/ratings/v1.yaml. Whether the numbers hold is the verdict's to say.
    """
    from rich.console import Console

    from tokenmark_decisions.rating import rate as rated
    from tokenmark_decisions.rating import use_of
    from tokenmark_schemas.documents import read_ratings

    from ..config.sources import find_result
    from ..reports.rating import rating_lines

    file = read_ratings(ratings)
    result = find_result(run, store_endpoint, store_region)
    names = ", ".join(each.name for each in file.uses)
    if use is None:
        found = use_of(file, result.provenance.workload.name)
        if found is None:
            raise InvalidInput(
                f"workload {result.provenance.workload.name} is of no use that is known; say --use: {names}"
            )
    else:
        found = next((each for each in file.uses if each.name == use), None)
        if found is None:
            raise InvalidInput(f"--use {use}: choose {names}")
    said = rated(result, found, file.version)
    if output == "json":
        print(json.dumps(said.snake(), indent=2))
        return
    console = Console()
    for line in rating_lines(said, found, result.verdict.state):
        console.print(line, highlight=False)
