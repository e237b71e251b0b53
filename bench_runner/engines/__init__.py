"""ENGINES: the dialects that work. A row here, a page in the docs and the contract suite make an engine."""

from __future__ import annotations

from tokenmark_schemas.errors import InvalidInput

from .base import Dialect
from .llamacpp import LLAMACPP
from .openai import OPENAI

ENGINES: dict[str, Dialect] = {dialect.name: dialect for dialect in (OPENAI, LLAMACPP)}


def dialect_of(engine: str) -> Dialect:
    """The row of an engine. Raises InvalidInput when this version does not speak it."""
    if engine not in ENGINES:
        raise InvalidInput(f"engine {engine} is not supported by this version yet; supported: {', '.join(ENGINES)}")
    return ENGINES[engine]
