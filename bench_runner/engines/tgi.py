"""Text Generation Inference: its own route, one event a token, and its OpenAI route."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from tokenmark_schemas.workload import WorkloadSpec

from . import openai
from .base import SILENT, VISIBLE, Answer, Count, Dialect, Prompt, error_text, sampling_fields


class _Token(msgspec.Struct, gc=False):
    text: str | None = None
    special: bool = False


class _Details(msgspec.Struct, gc=False):
    generated_tokens: Count | None = None
    input_length: Count | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


EVENTS = msgspec.json.Decoder(_Event)


def read(events: list[_Event]) -> Answer:
    """A stream of tokens, or one body with the whole text."""
    out = Answer(kinds=[_kind(e) for e in events])
    last = next((e for e in reversed(events) if e.generated_text is not None), None)
    out.finished = last is not None
    if last is not None and last.details is not None:
        out.output_tokens, out.prompt_tokens = last.details.generated_tokens, last.details.input_length
    out.error = next((error_text(e.error) for e in events if e.error is not None), None)
    return out


def text(events: list[_Event]) -> str:
    """The last event of a stream repeats the whole text."""
    return next((e.generated_text for e in reversed(events) if e.generated_text is not None), "")


def _kind(event: _Event) -> int:
    token = event.token
    if token is None:
        return VISIBLE if event.generated_text else SILENT
    return VISIBLE if token.text and not token.special else SILENT


def payload(_model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
    """The request without its prompt; the server has one model, so none is named."""
    sampling = sampling_fields(workload)
    if sampling["temperature"]:
        sampling["do_sample"] = True
    else:
        del sampling["temperature"]  # the server refuses 0: leaving it out is greedy decoding
    if sampling.get("top_p") == 1:
        del sampling["top_p"]  # refused too, and means nothing
    parameters = {"max_new_tokens": output_tokens, "details": True, **sampling}
    return {"parameters": parameters}


def with_inputs(body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    return {"inputs": prompt.as_text, **body}


TGI = Dialect(
    name="tgi",
    path="/generate_stream",
    whole_path="/generate",
    framing="sse",
    payload=payload,
    with_prompt=with_inputs,
    events=EVENTS,
    read=read,
    text=text,
)
TGI_OPENAI = dataclasses.replace(openai.OPENAI, name="tgi")
