"""How to speak with a RAG service: how many passages, of which collection, and, for one with a protocol of its own, a mapping."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from .base import Contract, Label, list_map

PATH = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]{1,3}\])*$"
Path = Annotated[str, Field(min_length=1, max_length=253, pattern=PATH)]
PLACES = ("query", "k", "max_tokens", "docset", "model", "stream")


class StepAt(Contract):
    """Where an event tells how long a step took."""

    name: Label
    path: Path
    unit: Literal["s", "ms"] = "s"


class RagMapping(Contract):
    """A service that does not speak `POST /query/stream`. Paths lead into the events of an answer, as `choices[0].text`; what an
    event does not have at a path is absent. Steps may also come in the header Server-Timing, by their names there."""

    path: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^/")] = Field(
        description="Of the URL, after the target's own."
    )
    request: Annotated[str, Field(min_length=2, max_length=4096)] = Field(
        description='The body as JSON, in which "{query}", "{k}", "{max_tokens}", "{docset}", "{model}" and "{stream}" stand '
        "for whole values."
    )
    framing: Literal["sse", "ndjson"] = "sse"
    text: Path = Field(description="The text of an event; several events make the answer.")
    done: Path | None = Field(
        default=None, description="True in the last event; without it the stream's end is enough."
    )
    error: Path | None = None
    prompt_tokens: Path | None = None
    output_tokens: Path | None = None
    retrieved: Path | None = Field(default=None, description="A number, or a list of which the length counts.")
    steps: Annotated[list[StepAt], Field(max_length=8, json_schema_extra=list_map("name"))] = []

    @field_validator("request")
    @classmethod
    def _is_an_object(cls, value: str) -> str:
        try:
            found = json.loads(value)
            strings = strings_of(found)
        except RecursionError:
            raise ValueError("request is nested too deeply") from None
        except ValueError:
            raise ValueError('request is no JSON; quote the places, as "{k}": they become numbers') from None
        if not isinstance(found, dict):
            raise ValueError("request is no JSON object")
        if "{query}" not in strings:
            raise ValueError('request lacks "{query}": nothing would be asked')
        return value


def strings_of(value: Any) -> list[str]:
    """Every string value of a JSON document."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings_of(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings_of(inner)]
    return [value] if isinstance(value, str) else []


class Retrieval(Contract):
    """For engine rag: `k` passages a question, out of a collection."""

    k: Annotated[int, Field(ge=1, le=1000)] = 5
    docset: Label | None = Field(default=None, description="Sent only where it is said.")
    mapping: RagMapping | None = None
