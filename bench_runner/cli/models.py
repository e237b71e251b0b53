"""`tokenmark models`: what the engines serve."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import typer

from tokenmark_schemas.errors import InvalidInput, RunFailed

from .engines import FILE, FORMAT

models = typer.Typer(help="Models that the engines serve.", no_args_is_help=True)


@models.command(name="list")
def list_(
    engine: list[str] = typer.Option([], help="Only these engines, by name; all that are up if unsaid."),
    file: Path | None = FILE,
    output: Literal["table", "json"] = FORMAT,
) -> None:
    """List them by engine. An engine that is down, or that serves none, is said to be so.

    Example: tokenmark models list --engine ollama
    """
    from rich.console import Console

    from ..config.connections import connections, named, token_of
    from ..reports.engines import model_table
    from ..target.discovery import models as models_of

    known = connections(file)
    asked = [named(known, name) for name in engine] or known
    found = [(each, models_of(each, token_of(each))) for each in asked]
    if output == "json":
        document = [
            {
                "engine": each.name,
                **({"problem": said} if isinstance(said, str) else {"models": [asdict(m) for m in said]}),
            }
            for each, said in found
        ]
        print(json.dumps(document, indent=2))
        return
    Console().print(model_table(found))


@models.command()
def info(
    name: str = typer.Argument(..., help="A model's name, as its engine knows it."),
    engine: str | None = typer.Option(None, help="The engine's name; the first that serves it if unsaid."),
    file: Path | None = FILE,
    output: Literal["table", "json"] = FORMAT,
) -> None:
    """Say what an engine tells of one model: context, quantisation, size, capabilities.

    Example: tokenmark models info gemma3:270m --engine ollama
    """
    from ..config.connections import connections, named, token_of
    from ..reports.engines import model_lines
    from ..target.discovery import detailed
    from ..target.discovery import models as models_of

    known = connections(file)
    asked = [named(known, engine)] if engine else known
    seen: list[str] = []
    for connection in asked:
        token = token_of(connection)
        served = models_of(connection, token)
        if isinstance(served, str):
            if engine:
                raise RunFailed(f"{engine} at {connection.url}: {served}")
            continue
        seen += [model.id for model in served]
        if found := next((model for model in served if model.id == name), None):
            whole = detailed(connection, found, token)
            if output == "json":
                print(json.dumps({"engine": connection.name, **asdict(whole)}, indent=2))
            else:
                print("\n".join([*model_lines(whole), f"  {'engine':<14}{connection.name}"]))
            return
    raise InvalidInput(f"no engine serves {name}; served: {', '.join(seen[:20]) or 'nothing'}")
