"""What an engine is: a dialect. A path, a payload builder and a chunk parser; transport, clock and errors live elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenmark_schemas.workload import WorkloadSpec


class ProtocolError(Exception):
    """An answer that the dialect cannot read."""


@dataclass(slots=True)
class Delta:
    """What one event of a stream says. Text is counted whether visible, reasoning or a tool call; absent is None."""

    text: str = ""
    reasoning: str = ""
    tool: str = ""
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    chunk_tokens: int | None = None
    model: str | None = None
    finish: str | None = None
    error: str | None = None
    done: bool = False
    timings: dict[str, Any] | None = None

    @property
    def has_text(self) -> bool:
        return bool(self.text or self.reasoning or self.tool)


@dataclass(frozen=True)
class Prompt:
    """One question. `messages` wins over `text` where a data set gives whole conversations."""

    text: str
    messages: tuple[dict[str, Any], ...] | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True)
class Dialect:
    """One row of ENGINES.

    `payload(model, workload, output_tokens, ignore_eos)` gives the request without its prompt; `with_prompt` puts one
    in. `parse` reads one event of a stream, `parse_whole` a body that was not streamed; both raise ProtocolError.
    """

    name: str
    path: str
    payload: Callable[[str, WorkloadSpec, int], dict[str, Any]]
    with_prompt: Callable[[dict[str, Any], Prompt], dict[str, Any]]
    parse: Callable[[bytes], Delta | None]
    parse_whole: Callable[[bytes], Delta]
    probe_path: str | None = None
