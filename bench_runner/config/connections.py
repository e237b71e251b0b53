"""Engines by name: from a file, else where their servers listen by default; the environment has the last word."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from tokenmark_schemas.documents import read_model
from tokenmark_schemas.engines import EngineConnection, EnginesFile
from tokenmark_schemas.errors import InvalidInput

from ..target.route import token_in

HERE = Path("engines.yaml")
DEFAULT_PORTS = {"ollama": 11434, "vllm": 8000, "tgi": 8080, "sglang": 30000, "llamacpp": 8080}


def connections(path: Path | None, environment: Mapping[str, str] = os.environ) -> list[EngineConnection]:
    """Of `path`, of ./engines.yaml, or the defaults. Raises InvalidInput where a file is none."""
    if path is None and HERE.is_file():
        path = HERE
    if path is None:
        found = [
            EngineConnection(name=name, engine=name, url=f"http://127.0.0.1:{port}")
            for name, port in DEFAULT_PORTS.items()
        ]
    else:
        found = read_model(path, EnginesFile, "file of engines", "engines/v1").engines
    return [_overridden(each, environment) for each in found]


def named(found: list[EngineConnection], name: str) -> EngineConnection:
    """Raises InvalidInput with the names that there are."""
    for each in found:
        if each.name == name:
            return each
    raise InvalidInput(f"there is no engine named {name}; known: {', '.join(each.name for each in found)}")


def _overridden(connection: EngineConnection, environment: Mapping[str, str]) -> EngineConnection:
    prefix = f"TOKENMARK_ENGINE_{connection.name.upper().replace('-', '_')}_"
    said = {key: value for key in ("url", "model") if (value := environment.get(prefix + key.upper()))}
    if not said:
        return connection
    try:
        return EngineConnection.model_validate(connection.model_dump() | said)
    except ValidationError:
        raise InvalidInput(f"{prefix}URL: write for example http://host:8000, without a login") from None


def token_of(connection: EngineConnection, environment: Mapping[str, str] = os.environ) -> str | None:
    """Raises InvalidInput where the variable that should hold it is empty."""
    if connection.token_env is None:
        return None
    return token_in(connection.token_env, f"the token of {connection.name}", environment)
