"""`tokenmark cost`: what a run's tokens cost at given prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import typer

from tokenmark_schemas.errors import InvalidInput


def cost(
    runs: list[str] = typer.Argument(
        ...,
        help="A run's folder or result.json, a store's address, or NAMESPACE/NAME of a run in the cluster; several are ranked.",
    ),
    prices: Path | None = typer.Option(None, "--cost", help="A cost/v1 file; without, what the result itself holds."),
    output: Literal["table", "json"] = typer.Option("table", "--format", help="What is printed."),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """Print what a million tokens cost.

    Per stage, with its interval; several runs are ranked, and a tie is called one.
    """
    from rich.console import Console

    from tokenmark_decisions.cost import cost_of
    from tokenmark_decisions.ranking import ranked
    from tokenmark_schemas.documents import parse_costs, read_text

    from ..config.sources import find_result
    from ..reports.cost import cost_table, further_lines, price_line, ranking_lines

    file = parse_costs(read_text(prices), str(prices)) if prices else None
    found = []
    for source in runs:
        result = find_result(source, store_endpoint, store_region)
        spent = cost_of(result, file) if file else result.cost
        if spent is None:
            raise InvalidInput(f"{source} was run without prices; give them, as --cost prices.yaml")
        found.append((source, result, spent))
    order = ranked(found) if len(found) > 1 else None
    if output == "json":
        documents = [{"source": source, "cost": spent.snake()} for source, _, spent in found]
        print(json.dumps(documents if len(found) > 1 else documents[0]["cost"], indent=2))
        return
    console = Console()
    for source, _, spent in found:
        console.print(f"\n[bold]{source}[/bold]  {price_line(spent)}", soft_wrap=True, highlight=False)
        total = "not known" if spent.run_total is None else f"{spent.run_total} {spent.currency}"
        console.print(f"per million tokens; this run: {total}", highlight=False)
        console.print(cost_table(spent))
        for line in (*further_lines(spent), *(f"· {note}" for note in spent.notes)):
            console.print(line, highlight=False, soft_wrap=True)
    if order is not None:
        for line in ranking_lines(order):
            console.print(line, highlight=False)
