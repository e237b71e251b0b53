"""`tokenmark metrics`: the requests of earlier runs, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import typer

from tokenmark_schemas.errors import InvalidInput

metrics = typer.Typer(
    help="Requests of the runs in a folder: show what they came to, export them.", no_args_is_help=True
)
WHERE: Any = typer.Option(
    Path("results"), "--in", help="The folder of results.", envvar="TOKENMARK_OUT", show_envvar=False
)
ENGINE: Any = typer.Option(None, help="Only runs of this engine.")
SINCE: Any = typer.Option(None, help="Only runs begun since: 12h, 7d, or a date.")


@metrics.command()
def show(where: Path = WHERE, engine: str | None = ENGINE, since: str | None = SINCE) -> None:
    """Show each run's requests in a line a stage: how many, how many failed, TTFT and TPOT in the middle and at the end.

    Example: tokenmark metrics show --engine ollama --since 7d
    """
    from rich.console import Console

    from ..reports.requests import request_table

    Console().print(request_table(_rows(where, engine, since)))


@metrics.command()
def export(
    where: Path = WHERE,
    engine: str | None = ENGINE,
    since: str | None = SINCE,
    format: Literal["json", "csv"] = typer.Option("csv", help="csv: a table; json: a line a request."),
    out: Path | None = typer.Option(None, help="Write it there."),
) -> None:
    """Write every request as a row of eighteen columns (docs/results.md lists them).

    Example: tokenmark metrics export --since 7d --out requests.csv
    """
    from ..formats.tables import REQUEST_COLUMNS
    from .export import write_table

    write_table("csv" if format == "csv" else "jsonl", REQUEST_COLUMNS, _rows(where, engine, since), out)


def _rows(where: Path, engine: str | None, since: str | None) -> Iterator[dict[str, Any]]:
    """Raises InvalidInput where no run is left, or none of them kept its requests."""
    from ..formats.tables import request_rows
    from ..index.listing import Wanted, rows, since_of
    from ..storage.request_log import read_log

    at = since_of(since, datetime.now(UTC)) if since else None
    found = [row for row in rows(str(where), Wanted(engine, at)) if (Path(row.id) / "requests.jsonl.gz").is_file()]
    if not found:
        raise InvalidInput(f"{where} has no such run that kept its requests")
    for row in reversed(found):
        yield from request_rows(row.name, read_log(Path(row.id) / "requests.jsonl.gz", row.id))
