"""`tokenmark test-request`: does one request work, and what comes back?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import typer

from tokenmark_schemas.database import DATABASES
from tokenmark_schemas.errors import InvalidInput, RunFailed

from .engines import FILE


def single_request(
    engine: str = typer.Argument(..., help="An engine's name, or the address of one with --kind."),
    kind: str | None = typer.Option(None, help="The dialect of an address: openai, vllm, ollama, …"),
    prompt: str = typer.Option("Say hello in five words.", help="What is asked."),
    model: str | None = typer.Option(None, help="The engine's own, or its first one, if unsaid."),
    max_output_tokens: int = typer.Option(64, min=1, max=100_000, help="The most tokens of the answer."),
    stream: bool = typer.Option(True, "--stream/--no-stream", help="As a stream, or in one piece."),
    show: Literal["text", "raw", "json"] = typer.Option(
        "text", help="text: the answer and its timing; raw: the bytes that came; json: all as one document."
    ),
    save: Path | None = typer.Option(None, help="Write the document of --show json there too."),
    timeout: int = typer.Option(120, min=1, max=3600, help="Seconds that the answer may take."),
    file: Path | None = FILE,
) -> None:
    """Send one request as a load would, and show content, timing and the engine's own counters.

    Examples: tokenmark test-request ollama --prompt "Why is the sky blue?"
              tokenmark test-request http://127.0.0.1:8080 --kind llamacpp --show raw

    Exit codes: 0 an answer came, 2 bad input, 5 none did.
    """
    from ..instrument.single import ask_once
    from ..storage.text_file import write_text
    from ..target.discovery import target_of

    connection, token = connection_of(engine, kind, file)
    if connection.engine in DATABASES:
        raise InvalidInput(
            f"{connection.name} is a database: tokenmark run --target {connection.url} --engine {connection.engine} --workload vector-search"
        )
    model = model or connection.model or first_model(connection, token)
    found = ask_once(target_of(connection, model, timeout), _workload(prompt, max_output_tokens, stream), token)
    document = _document(connection, model, found)
    if save is not None:
        write_text(save, json.dumps(document, indent=2, ensure_ascii=False) + "\n", f"--save {save}")
    if show == "raw":
        sys.stdout.write(found.raw.decode("utf-8", "replace"))
    elif show == "json":
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif found.sample.failure is None:
        _show(connection.name, model, document)
    if found.sample.failure is not None:
        raise RunFailed(f"{connection.name} at {connection.url}: {found.sample.failure.message}")


def connection_of(engine: str, kind: str | None, file: Path | None) -> tuple[Any, str | None]:
    """An engine by its name, or an address with its kind; and the token."""
    from pydantic import ValidationError

    from tokenmark_schemas.engines import EngineConnection

    from ..config.connections import connections, named, token_of

    if "://" not in engine:
        if kind is not None:
            raise InvalidInput("--kind is for an address; an engine by name has its own")
        connection = named(connections(file), engine)
        return connection, token_of(connection)
    from tokenmark_schemas.support import ENGINES

    if kind not in ENGINES:
        raise InvalidInput(f"--kind is missing or none: which dialect does it speak? One of {', '.join(ENGINES)}")
    try:
        return EngineConnection(name="target", engine=kind, url=engine), None
    except ValidationError:
        raise InvalidInput(f"{engine}: write for example http://host:8000, without a login") from None


def first_model(connection: Any, token: str | None) -> str:
    """The first model that it serves. Raises InvalidInput where it does not tell."""
    from ..target.discovery import models as models_of

    found = models_of(connection, token)
    if isinstance(found, str) or not found:
        if connection.engine in ("tgi", "rag"):
            return "default"  # it has one, and asks for no name
        raise InvalidInput(
            f"--model is missing, and {connection.name} does not tell which it serves: {found or 'none'}"
        )
    return str(found[0].id)


def _workload(prompt: str, tokens: int, stream: bool) -> Any:
    from tokenmark_schemas.workload import WorkloadSpec

    return WorkloadSpec.model_validate(
        {"maxOutputTokens": tokens, "streaming": stream, "dataset": {"prompts": [prompt]}}
    )


def _document(connection: Any, model: str, found: Any) -> dict[str, Any]:
    from ..formats.tables import request_rows
    from ..storage.request_log import request_row

    row = request_row(found.sample, chunks=True)
    (record,) = request_rows("test", [row])
    return {
        "engine": connection.name, "kind": connection.engine, "url": connection.url, "model": model, "text": found.text, **record,
        "engine_timings": found.sample.engine_timings, "steps_s": found.sample.steps_s, "content_ns": row["content_ns"], "sent_ns": row["sent_ns"],
        "message": found.sample.failure.message if found.sample.failure else None,
    }  # fmt: skip


def _show(name: str, model: str, document: dict[str, Any]) -> None:
    from ..reports.engines import request_lines

    print(f"{document['text'].strip() or '(no text)'}\n")
    print(f"{name}  {model}", file=sys.stderr)
    for line in request_lines(document):
        print(line, file=sys.stderr)
