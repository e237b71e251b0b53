"""A RAG service: `POST /query/stream {query, k, max_tokens}`, answered by events. docs/engines.md has the protocol.

An event holds a step (`step`, `seconds`, and of a retrieval how many passages it `retrieved`), a piece of text (`token`), or the
end (`done`, counts, all `steps` at once). Steps are what comes before the first token, so that they add up to TTFT.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tokenmark_schemas.workload import WorkloadSpec

from .base import SILENT, VISIBLE, Answer, Count, Dialect, Prompt, error_text

PATH, WHOLE = "/query/stream", "/query"
MOST_STEPS, MOST_STEP_S = 16, 86_400.0
UNEXPLAINED = "other"  # the step that no step is: the way there, queues, what the service does not tell
_NAME = re.compile(r"[^a-z0-9_]+")


class Event(msgspec.Struct, gc=False):
    step: str | None = None
    seconds: float | None = None
    retrieved: Count | None = None
    token: str | None = None
    answer: str | None = None  # of one that was not streamed
    done: bool = False
    steps: dict[str, float] | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    model: str | None = None
    error: Any = None


def read(events: list[Event]) -> Answer:
    out = Answer(kinds=[VISIBLE if e.token or e.answer else SILENT for e in events])
    steps: dict[str, float] = {}
    for e in events:
        if e.step is not None and e.seconds is not None:
            steps[e.step] = steps.get(e.step, 0.0) + e.seconds
        out.retrieved = e.retrieved if e.retrieved is not None else out.retrieved
        out.model = e.model or out.model
        out.output_tokens = e.output_tokens if e.output_tokens is not None else out.output_tokens
        out.prompt_tokens = e.prompt_tokens if e.prompt_tokens is not None else out.prompt_tokens
        if e.steps:
            steps |= e.steps
        if e.error is not None:
            out.error = error_text({"error": e.error})
        out.finished = out.finished or e.done or e.answer is not None
    out.steps = sane(steps)
    return out


def sane(steps: dict[str, float]) -> dict[str, float] | None:
    """Those that can be: a bounded number of them, plainly named, none below nought or beyond a day. Names that come to the same are
    one step; one without a letter, or called as what no step explains, says nothing."""
    kept: dict[str, float] = {}
    for said, seconds in list(steps.items())[:MOST_STEPS]:
        name = _NAME.sub("_", said.lower())[:63].strip("_")
        if name and name != UNEXPLAINED and 0 <= seconds <= MOST_STEP_S:
            kept[name] = kept.get(name, 0.0) + float(seconds)
    return kept or None


def text(events: list[Event]) -> str:
    return "".join(e.token or e.answer or "" for e in events)


def dialect(k: int = 5, docset: str | None = None) -> Dialect:
    def payload(_model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
        """The backend has its model."""
        body: dict[str, Any] = {"k": k, "max_tokens": output_tokens}
        return body if docset is None else {**body, "docset": docset}

    return Dialect(
        name="rag", path=PATH, whole_path=WHOLE, framing="sse", payload=payload, with_prompt=with_query,
        events=msgspec.json.Decoder(Event), read=read, text=text, tells_steps=True,
    )  # fmt: skip


def with_query(body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    return {"query": prompt.as_text, **body}


RAG = dialect()
