"""The OpenAI routes, chat and completions, as spoken by OpenAI, vLLM, SGLang, TGI, llama.cpp and most gateways."""

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

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    completion_tokens: Count | None = None
    prompt_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    timings: dict[str, Any] | None = None
    model: str | None = None
    object: str | None = None
    message: str | None = None


EVENTS = msgspec.json.Decoder(_Event)


def _kind(choice: _Choice) -> int:
    said = choice.delta or choice.message
    if said is None:
        return VISIBLE if choice.text else SILENT
    if said.content:
        return VISIBLE
    return HIDDEN if said.reasoning_content or said.reasoning or said.tool_calls else SILENT


def read(events: list[_Event]) -> Answer:
    """The events of one answer. Most hold one choice with visible text: that case is decided inline."""
    kinds = [
        (VISIBLE if (said := choices[0].delta) and said.content else _kind(choices[0])) if (choices := e.choices) else 0
        for e in events
    ]
    out = Answer(kinds=kinds, model=next((e.model for e in events if e.model), None))
    told = [i for i, e in enumerate(events) if e.usage is not None]
    for i in told[-1:]:
        _take_usage(out, events[i].usage)
    if len(told) > 1:
        out.chunk_tokens = _per_chunk(events, kinds)
    for e in events:
        if e.error is not None or e.object == "error":
            out.error = error_text({"error": e.error} if e.error is not None else {"message": e.message})
            break
    out.timings = next((e.timings for e in reversed(events) if e.timings), None)
    out.finished = any(e.choices and e.choices[0].finish_reason for e in reversed(events))
    return out


def text(events: list[_Event]) -> str:
    choices = [e.choices[0] for e in events if e.choices]
    said = [(choice.delta or choice.message, choice.text) for choice in choices]
    return "".join((message.content if message is not None else plain) or "" for message, plain in said)


def _take_usage(out: Answer, usage: _Usage | None) -> None:
    if usage is None:
        return
    out.output_tokens, out.prompt_tokens = usage.completion_tokens, usage.prompt_tokens
    if usage.prompt_tokens_details:
        out.cached_tokens = usage.prompt_tokens_details.cached_tokens
    if usage.completion_tokens_details:
        out.reasoning_tokens = usage.completion_tokens_details.reasoning_tokens


def _per_chunk(events: list[_Event], kinds: list[int]) -> list[int] | None:
    """Tokens of each event with text, from usage that grows with the stream; None where one does not tell.

    An event without text that adds tokens (a special token, a half character) adds them to the next one with text.
    """
    before, tokens = 0, []
    for event, kind in zip(events, kinds, strict=True):
        if not kind:
            continue
        total = event.usage.completion_tokens if event.usage else None
        if total is None or total < before:
            return None
        tokens.append(total - before)
        before = total
    return tokens


def payload(model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
    """The request without its prompt."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": output_tokens,
        "stream": workload.streaming,
        **sampling_fields(workload),
    }
    if workload.ignore_eos == "Force":
        body["ignore_eos"] = True  # vLLM, SGLang and llama.cpp know it; a server that does not says so
    if workload.streaming:
        body["stream_options"] = {"include_usage": True}
    return body


OPENAI = Dialect(
    name="openai",
    path=CHAT,
    framing="sse",
    payload=payload,
    with_prompt=with_messages,
    events=EVENTS,
    read=read,
    text=text,
)
COMPLETION = dataclasses.replace(OPENAI, name="openai-completions", path=COMPLETIONS, with_prompt=with_text)
