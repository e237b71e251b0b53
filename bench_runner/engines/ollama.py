"""Ollama: newline-delimited JSON, and counters of its own in the last line."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from tokenmark_schemas.workload import WorkloadSpec

from .base import (
    HIDDEN,
    SILENT,
    VISIBLE,
    Answer,
    Count,
    Dialect,
    error_text,
    sampling_fields,
    with_messages,
    with_text,
)

DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Any] | None = None


class _Event(msgspec.Struct, gc=False):
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    model: str | None = None
    done: bool = False
    error: Any = None
    eval_count: Count | None = None
    prompt_eval_count: Count | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_duration: int | None = None
    eval_duration: int | None = None


EVENTS = msgspec.json.Decoder(_Event)


def read(events: list[_Event]) -> Answer:
    """Lines of a stream, or the one line of an answer that was not streamed. Durations are the engine's, in ns."""
    out = Answer(kinds=[_kind(e) for e in events], model=next((e.model for e in events if e.model), None))
    last = next((e for e in reversed(events) if e.done), None)
    if last is not None:
        out.finished = True
        out.output_tokens, out.prompt_tokens = last.eval_count, last.prompt_eval_count
        said = {f"{name}_ns": value for name in DURATIONS if (value := getattr(last, name)) is not None}
        out.timings = said or None
    out.error = next((error_text({"error": e.error}) for e in events if e.error is not None), None)
    return out


def text(events: list[_Event]) -> str:
    return "".join((e.message.content if e.message is not None else e.response) or "" for e in events)


def _kind(event: _Event) -> int:
    said = event.message
    if said is None:
        return VISIBLE if event.response else HIDDEN if event.thinking else SILENT
    if said.content:
        return VISIBLE
    return HIDDEN if said.thinking or said.tool_calls else SILENT


def payload(model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
    options = {"num_predict": output_tokens, **sampling_fields(workload)}
    return {"model": model, "stream": workload.streaming, "options": options}


OLLAMA = Dialect(
    name="ollama",
    path="/api/chat",
    framing="ndjson",
    payload=payload,
    with_prompt=with_messages,
    events=EVENTS,
    read=read,
    text=text,
    without_end="Ollama ends so where an answer says one token thirty times in a row",
)
OLLAMA_GENERATE = dataclasses.replace(OLLAMA, path="/api/generate", with_prompt=with_text)
