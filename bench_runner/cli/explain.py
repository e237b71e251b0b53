"""`tokenmark explain`: what a metric means, from the table that computes it."""

from __future__ import annotations

import difflib

import typer

from tokenmark_schemas.errors import InvalidInput

from ..metrics import BY_ID, METRICS


def explain(metric: str | None = typer.Argument(None, help="A metric id, such as ttft; none lists all.")) -> None:
    """Say what a metric means and how it is computed."""
    if metric is None:
        for row in METRICS:
            print(f"{row.id:<22} {row.formula}")
        return
    if metric not in BY_ID:
        near = difflib.get_close_matches(metric, BY_ID, n=1)
        raise InvalidInput(
            f"there is no metric {metric!r}; " + (f"did you mean {near[0]}?" if near else "see: tokenmark explain")
        )
    row = BY_ID[metric]
    print(f"{row.id} [{row.unit}], {row.better} is better\n\n  {row.id} = {row.formula}\n\n{row.help}")
