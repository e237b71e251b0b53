"""What the simulator does: lengths, times and faults, all seeded; from flags, or from a small file."""

from __future__ import annotations

import difflib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tokenmark_schemas.documents import read_text
from tokenmark_schemas.errors import InvalidInput

NS_PER_MS = 1_000_000
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0, le=3_600_000)]


class Scenario(BaseModel):
    """Times in milliseconds, shares in [0, 1]. A request gets min(its own limit, `tokens`) tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "sim"
    seed: int = 1
    ttft_ms: Milliseconds = 20.0
    ttft_jitter_ms: Milliseconds = 0.0
    itl_ms: Milliseconds = 5.0
    jitter_ms: Milliseconds = 0.0
    embedding_ms: Milliseconds = 0.0  # of a RAG backend, before the answer is made
    retrieval_ms: Milliseconds = 0.0
    retrieved: Annotated[int, Field(ge=0)] = 5
    head_ms: Milliseconds = 0.0  # when the head of the answer goes out; at once if 0
    tokens: Annotated[int, Field(ge=1)] = 4096
    slots: Annotated[int, Field(ge=1)] | None = None  # answers at a time; more wait in turn, before their first token
    chunk_tokens: Annotated[int, Field(ge=1)] = 1
    role_chunk: bool = True
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    usage: bool = True
    error_share: Share = 0.0
    error_status: Annotated[int, Field(ge=400, le=599)] = 500
    error_burst_every_s: Annotated[float, Field(ge=0)] = 0.0  # no bursts if 0
    error_burst_s: Annotated[float, Field(ge=0)] = 1.0
    slow_after_s: Annotated[float, Field(ge=0)] = 0.0  # from its start, once
    slow_s: Annotated[float, Field(ge=0)] = 0.0  # no slow spell if 0
    slow_factor: Annotated[float, Field(gt=0)] = 2.0
    retry_after_s: Annotated[int, Field(ge=0)] | None = None
    abort_share: Share = 0.0
    garbage_share: Share = 0.0
    stall_share: Share = 0.0
    stall_ms: Milliseconds = 1000.0
    stall_at: Annotated[int, Field(ge=0)] = 8
    api_token: str | None = None

    def bursting(self, elapsed_s: float) -> bool:
        """Whether a burst of errors is on, that long after the start."""
        return self.error_burst_every_s > 0 and elapsed_s % self.error_burst_every_s < self.error_burst_s

    def pace(self, elapsed_s: float) -> float:
        """How many times as long an answer takes, that long after the start."""
        slow = self.slow_after_s <= elapsed_s < self.slow_after_s + self.slow_s
        return self.slow_factor if slow else 1.0


def read_scenario(path: Path) -> dict[str, object]:
    """The fields of a scenario file. Raises InvalidInput with what is wrong where."""
    try:
        fields = yaml.safe_load(read_text(path)) or {}
        Scenario.model_validate(fields)
    except yaml.YAMLError as exc:
        raise InvalidInput(f"{path}: not YAML: {exc}") from exc
    except ValidationError as exc:
        raise InvalidInput("\n".join(f"{path}: {_problem(error)}" for error in exc.errors())) from None
    return dict(fields)


def _problem(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, Scenario.model_fields, n=1)
        return f"{name}: unknown field" + (f"; did you mean {near[0]}?" if near else "")
    return f"{name or 'the file'}: {error['msg'][0].lower()}{error['msg'][1:]}; found {error['input']!r}"


@dataclass(slots=True)
class Script:
    """One answer, decided when its request was read. Offsets in nanoseconds from then; faults by chunk, None for none."""

    status: int
    tokens: int
    offsets_ns: list[int]
    abort_at: int | None = None
    garbage_at: int | None = None


def script(scenario: Scenario, seq: int, max_tokens: int, elapsed_s: float = 0.0) -> Script:
    """The seq-th request's answer; the same for the same seed, but for bursts and slow spells, which go by the clock."""
    rng = random.Random(scenario.seed * 1_000_003 + seq)
    tokens = max(1, min(max_tokens, scenario.tokens))
    if rng.random() < scenario.error_share or scenario.bursting(elapsed_s):
        return Script(scenario.error_status, 0, [])
    chunks = -(-tokens // scenario.chunk_tokens)
    stalled, pace = rng.random() < scenario.stall_share, scenario.pace(elapsed_s)
    offsets, at = [], (scenario.ttft_ms + rng.uniform(0, scenario.ttft_jitter_ms)) * NS_PER_MS
    for k in range(chunks):
        if stalled and k == scenario.stall_at:
            at += scenario.stall_ms * NS_PER_MS
        jitter = rng.uniform(0, scenario.jitter_ms) * NS_PER_MS if scenario.jitter_ms else 0.0
        offsets.append(int((at + jitter) * pace))
        at += scenario.itl_ms * scenario.chunk_tokens * NS_PER_MS
    abort = rng.randrange(1, chunks + 1) if rng.random() < scenario.abort_share else None
    garbage = rng.randrange(chunks) if rng.random() < scenario.garbage_share else None
    return Script(200, tokens, sorted(offsets), abort, garbage)
