"""`tokenmark engines`: which engines there are by name, whether they are up, what they say of themselves."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import typer

from tokenmark_schemas.errors import RunFailed

engines = typer.Typer(
    help="Engines by name: list them, ask whether they are up, ask what they are.", no_args_is_help=True
)
FILE: Any = typer.Option(
    None, "--engines", help="A file of engines (engines/v1); ./engines.yaml if unsaid, else the usual ports of this machine.",
    envvar="TOKENMARK_ENGINES", show_envvar=False,
)  # fmt: skip
FORMAT: Any = typer.Option("table", "--format", help="What is printed.")


@engines.command(name="list")
def list_(file: Path | None = FILE, output: Literal["table", "json"] = FORMAT) -> None:
    """List them, with their addresses.

    Example: tokenmark engines list --engines deploy/examples/engines.yaml
    """
    from rich.console import Console

    from ..config.connections import connections
    from ..reports.engines import engine_table

    found = connections(file)
    if output == "json":
        print(json.dumps([each.snake() for each in found], indent=2))
    else:
        Console().print(engine_table(found))


@engines.command()
def health(
    names: list[str] = typer.Argument(None, help="Only these; all if unsaid."),
    file: Path | None = FILE,
    output: Literal["table", "json"] = FORMAT,
) -> None:
    """Ask each whether it is up, and show how long its answer took. Ends with 5 where one that was named is not.

    Example: tokenmark engines health ollama
    """
    from rich.console import Console

    from ..config.connections import connections, named, token_of
    from ..reports.engines import health_table
    from ..target.discovery import health as health_of

    known = connections(file)
    asked = [named(known, name) for name in names or []] or known
    found = [(each, health_of(each, token_of(each))) for each in asked]
    if output == "json":
        print(json.dumps([{"name": each.name, "url": each.url, **asdict(said)} for each, said in found], indent=2))
    else:
        Console().print(health_table(found))
    if names and not all(said.up for _, said in found):
        raise typer.Exit(RunFailed.exit_code)


@engines.command()
def info(
    name: str = typer.Argument(..., help="An engine's name."),
    file: Path | None = FILE,
    output: Literal["table", "json"] = FORMAT,
) -> None:
    """Say what an engine is: version, model, context, quantisation, as far as it tells.

    Example: tokenmark engines info vllm
    """
    from ..config.connections import connections, named, token_of
    from ..target.discovery import health as health_of
    from ..target.discovery import target_of
    from ..target.http_get import Pages
    from ..target.identity import identity_of

    connection = named(connections(file), name)
    token = token_of(connection)
    said = health_of(connection, token)
    if not said.up:
        raise RunFailed(f"{name} at {connection.url} is down: {said.said}")
    facts = identity_of(connection.engine, Pages(target_of(connection, connection.model or ""), token)).snake()
    if output == "json":
        print(json.dumps({"name": name, "url": connection.url, **facts, "engine": connection.engine}, indent=2))
        return
    print(f"{name}  {connection.url}")
    for key, value in {**facts, "name": connection.engine}.items():
        if key != "reported_model":
            print(f"  {key.replace('_', ' '):<16}{value or 'not told'}")
