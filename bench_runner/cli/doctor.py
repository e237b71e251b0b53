"""`tokenmark doctor`: everything that can be known before a load begins."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import typer

from tokenmark_schemas.errors import InvalidInput, RunFailed

from .engines import FILE, FORMAT

STYLES = {"ok": "green", "warn": "bold yellow", "fail": "bold red"}


def doctor(
    engine: str | None = typer.Argument(
        None, help="An engine's name, or the address of one with --kind; without, this machine alone."
    ),
    kind: str | None = typer.Option(None, help="The dialect of an address: openai, vllm, ollama, …"),
    model: str | None = typer.Option(None, help="The model that the load will ask for; the engine's first if unsaid."),
    concurrency: int = typer.Option(64, min=1, max=1_000_000, help="Streams that the load will open."),
    namespace: str | None = typer.Option(
        None, "--namespace", "-n", help="Also look at the cluster, as a run in this namespace would need it."
    ),
    out: Path = typer.Option(
        Path("results"), help="Where results will lie.", envvar="TOKENMARK_OUT", show_envvar=False
    ),
    file: Path | None = FILE,
    output: Literal["table", "json"] = FORMAT,
) -> None:
    """Check engine, model, one request, processors, descriptors, clock, disk, GPU and cluster before a load.

    Examples: tokenmark doctor ollama --concurrency 16
              tokenmark doctor http://127.0.0.1:8000 --kind vllm -n bench

    Exit codes: 0 nothing fails (what only warns is said), 2 bad input, 5 something fails.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..run.preflight import Check, of_cluster, of_engine, of_machine
    from .single_request import connection_of

    checks: list[Check] = []
    if engine is not None:
        connection, token = connection_of(engine, kind, file)
        checks += of_engine(connection, token, model or connection.model)
    elif kind or model:
        raise InvalidInput("--kind and --model are of an engine: name one")
    checks += of_machine(concurrency, out)
    if namespace is not None:
        checks += of_cluster(namespace)
    if output == "json":
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for check in checks:
            table.add_row(check.name, Text(check.state, style=STYLES[check.state]), Text(check.said, overflow="fold"))
        Console().print(table)
    failed = [check for check in checks if check.state == "fail"]
    if failed:
        raise RunFailed(
            f"{len(failed)} of {len(checks)} checks fail: {', '.join(dict.fromkeys(check.name for check in failed))}"
        )
