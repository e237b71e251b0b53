"""What an engine is: a few routes, each a row of paths, a payload builder and a reader of events.

Events are decoded by msgspec into typed structs: what the row does not declare is skipped, what has the wrong type is
refused with its JSON path, and a token costs well under a microsecond. Transport, clock and errors live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from tokenmark_schemas.quality import QualityTest
from tokenmark_schemas.workload import WorkloadSpec

SILENT, VISIBLE, HIDDEN = 0, 1, 2  # what an event carries: nothing, visible text, reasoning or a tool call

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class ProtocolError(Exception):
    """An answer that the dialect cannot read."""


@dataclass(slots=True)
class Answer:
    """What the events of one answer say, their times aside. `kinds` holds SILENT, VISIBLE or HIDDEN for each event;
    `chunk_tokens` the tokens of each event with text, where the engine tells. Absent is None."""

    kinds: list[int] = field(default_factory=list)
    chunk_tokens: list[int] | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    model: str | None = None
    timings: dict[str, Any] | None = None
    steps: dict[str, float] | None = None  # seconds, of what came before the first token
    retrieved: int | None = None  # passages that the answer was made from
    error: str | None = None
    finished: bool = False


@dataclass(frozen=True)
class Prompt:
    """One question. `messages` wins over `text` where a data set gives whole conversations; `input_tokens` asks for
    made-up text of that length; `at_ms` is when a trace saw it; `turns` are what a user says one after the other, and
    `answers` what was said back where that was recorded. The answer to a `test` is judged."""

    text: str
    messages: tuple[dict[str, Any], ...] | None = None
    max_output_tokens: int | None = None
    input_tokens: int | None = None
    at_ms: float | None = None
    turns: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    test: QualityTest | None = None

    @property
    def as_messages(self) -> list[dict[str, Any]]:
        return list(self.messages) if self.messages else [{"role": "user", "content": self.text}]

    @property
    def as_text(self) -> str:
        """For routes that take no conversation: the contents, one after another."""
        if not self.messages:
            return self.text
        return "\n\n".join(str(message.get("content") or "") for message in self.messages)


@dataclass(frozen=True)
class Dialect:
    """One route of an engine.

    `payload(model, workload, output_tokens)` gives the request without its prompt; `with_prompt` puts one in. `read`
    takes the decoded events of a stream in order, or the one body of an answer that was not streamed.
    """

    name: str
    path: str
    framing: Literal["sse", "ndjson"]
    payload: Callable[[str, WorkloadSpec, int], dict[str, Any]]
    with_prompt: Callable[[dict[str, Any], Prompt], dict[str, Any]]
    events: msgspec.json.Decoder[Any]
    read: Callable[[list[Any]], Answer]
    text: Callable[[list[Any]], str]  # the visible text of the events
    whole_path: str | None = None  # where answers that are not streamed come from, if elsewhere
    without_end: str = ""  # what it may mean, with this engine, that a stream has none
    tells_steps: bool = False  # steps may stand in the header Server-Timing too

    def path_for(self, streaming: bool) -> str:
        return self.path if streaming or self.whole_path is None else self.whole_path


def with_messages(body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    return {**body, "messages": prompt.as_messages}


def with_text(body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    return {**body, "prompt": prompt.as_text}


def sampling_fields(workload: WorkloadSpec) -> dict[str, Any]:
    """Temperature, top_p and seed by the names that nearly all engines have for them; what is unsaid stays out."""
    sampling = workload.sampling
    said = {"temperature": sampling.temperature_milli / 1000, "seed": sampling.seed,
            "top_p": None if sampling.top_p_milli is None else sampling.top_p_milli / 1000}  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}


def error_text(event: Any) -> str:
    """The server's own words out of the shapes that errors come in."""
    if not isinstance(event, dict):
        return str(event)[:500]
    error = event.get("error", event.get("detail", event.get("message", event)))
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error)[:500]
