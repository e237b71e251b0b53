"""What the simulator does: lengths, times and faults, all seeded."""

from __future__ import annotations

import random
from dataclasses import dataclass

NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Scenario:
    """Times in milliseconds, shares in [0, 1]. A request gets min(its max_tokens, `tokens`) tokens."""

    model: str = "sim"
    ttft_ms: float = 20.0
    itl_ms: float = 5.0
    jitter_ms: float = 0.0
    tokens: int = 4096
    chunk_tokens: int = 1
    role_chunk: bool = True
    reasoning_tokens: int = 0
    usage: bool = True
    error_share: float = 0.0
    error_status: int = 500
    abort_share: float = 0.0
    stall_share: float = 0.0
    stall_ms: float = 1000.0
    stall_at: int = 8
    api_token: str | None = None
    seed: int = 1


@dataclass(slots=True)
class Script:
    """One answer, decided when its request was read. Offsets in nanoseconds from then."""

    status: int
    tokens: int
    offsets_ns: list[int]
    abort_at: int | None


def script(scenario: Scenario, seq: int, max_tokens: int) -> Script:
    """The seq-th request's answer; the same for the same seed."""
    rng = random.Random(scenario.seed * 1_000_003 + seq)
    tokens = max(1, min(max_tokens, scenario.tokens))
    if rng.random() < scenario.error_share:
        return Script(scenario.error_status, 0, [], None)
    chunks = -(-tokens // scenario.chunk_tokens)
    stalled = rng.random() < scenario.stall_share
    offsets, at = [], scenario.ttft_ms * NS_PER_MS
    for k in range(chunks):
        if stalled and k == scenario.stall_at:
            at += scenario.stall_ms * NS_PER_MS
        jitter = rng.uniform(0, scenario.jitter_ms) * NS_PER_MS if scenario.jitter_ms else 0.0
        offsets.append(int(at + jitter))
        at += scenario.itl_ms * scenario.chunk_tokens * NS_PER_MS
    abort = rng.randrange(1, chunks + 1) if rng.random() < scenario.abort_share else None
    return Script(200, tokens, sorted(offsets), abort)
