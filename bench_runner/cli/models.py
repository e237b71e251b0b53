"""`tokenmark models`: what the engines serve."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from tokenmark_schemas.errors import InvalidInput, RunFailed

from .engines import FILE, FORMAT

if TYPE_CHECKING:
    from tokenmark_schemas.local_models import ModelsFile

models = typer.Typer(help="Models that the engines serve, and model files of this machine.", no_args_is_help=True)
LIST = typer.Option(
    Path("models.yaml"),
    "--models",
    help="The list of models (models/v1).",
    envvar="TOKENMARK_MODELS",
    show_envvar=False,
)


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


@models.command()
def scan(
    folder: Path | None = typer.Argument(None, help="Searched for *.gguf; modelDir of the list if unsaid."),
    file: Path = LIST,
    context: int | None = typer.Option(
        None, min=256, help="Tokens that memory is worked out for; the list's if unsaid."
    ),
    output: Literal["table", "json"] = FORMAT,
) -> None:
    """List the model files of this machine by what they say of themselves: name, quantisation, context, and the memory that each needs.

    Files that are none, or not whole, are said to be so. Examples: tokenmark models scan ~/models; tokenmark models scan

    Exit codes: 0 all are whole, 2 bad input, 5 a file is not whole, or a model of the list is missing.
    """
    from rich.console import Console

    from ..local.listing import document, problems, table
    from ..local.store import held, unlisted
    from ..local.store import scan as scanned

    listed = listed_models(file) if folder is None or file.exists() else None
    place = (folder or Path(str(listed.model_dir if listed else "."))).expanduser()
    found = scanned(place)
    of_list = held(listed, found, place) if listed else []
    rest = unlisted(listed, found, place) if listed else found.files
    if not found.files and not found.broken:
        raise InvalidInput(f"{place} holds no *.gguf, and no folder below it does")
    if output == "json":
        print(json.dumps(document(of_list, rest, found.broken, context), indent=2))
    else:
        Console().print(table(of_list, rest, place, context))
    said = problems(of_list, found.broken)
    for line in [*said, *found.others.values()] if output == "table" else ():
        print(line)
    if said:
        raise typer.Exit(RunFailed.exit_code)


@models.command()
def pull(
    name: str | None = typer.Argument(None, help="A model of the list; all that it says where to have if unsaid."),
    quant: list[str] = typer.Option([], "--quant", help="Only these quantisations; all that the list has if unsaid."),
    file: Path = LIST,
    most_gigabytes: float = typer.Option(40.0, min=0.001, help="A larger file is refused."),
    endpoint: str | None = typer.Option(
        None, help="In the place of huggingface.co.", envvar="HF_ENDPOINT", show_envvar=False
    ),
    quiet: bool = typer.Option(False, help="No progress."),
) -> None:
    """Download what is missing of models into the list's folder. What was broken off is gone on with when it is called again; what is not
    whole, or not what it should be, is refused. A token is read from HF_TOKEN.

    Example: tokenmark models pull gemma-3-270m --quant Q8_0
    """
    from ..local.download import download

    listed = listed_models(file)
    hubs = {each.name: each.hub for each in listed.models if each.hub and name in (None, each.name)}
    if not hubs:
        known = ", ".join(each.name for each in listed.models if each.hub)
        said = (
            f"model {name} with hub:, from which it could be had"
            if name
            else "model with hub:, from which one could be had"
        )
        raise InvalidInput(f"{file} has no {said}; there are {known or 'none'}")
    wanted = [(hub, word) for hub in hubs.values() for word in hub.files if not quant or word in quant]
    if unknown := [word for word in quant if word not in {found for _, found in wanted}]:
        there = ", ".join(dict.fromkeys(word for hub in hubs.values() for word in hub.files))
        raise InvalidInput(f"{', '.join(hubs)} has no {', '.join(unknown)} in {file}; there are {there}")
    folder = Path(listed.model_dir).expanduser()
    for hub, word in wanted:
        print(download(hub, word, folder, round(most_gigabytes * 1e9), endpoint, quiet=quiet))


def listed_models(file: Path) -> ModelsFile:
    """Raises InvalidInput where it is no list of models."""
    from tokenmark_schemas.documents import read_model
    from tokenmark_schemas.local_models import ModelsFile as List

    return read_model(file, List, "list of models", "models/v1")
