"""What a file of another tool tells, in our units and words: seconds, tokens, whole counts. What it does not tell is None or
not there. A tool's module says what its words mean here (`definitions`) and what has no meaning here (`refused`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Arrival, Stage

MOST_REQUESTS = 10_000_000
MS = 0.001


@dataclass(frozen=True)
class Summary:
    """Of values that the file does not hold. Seconds, or 1/s."""

    count: int
    mean: float | None = None
    stddev: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass
class FoundStage:
    """One load, once. `values` holds each request's own, `summaries` what stands in their place; a metric is in one of them."""

    name: str
    sent: int
    succeeded: int
    failed: int
    cancelled: int = 0
    due: int | None = None
    errors: dict[str, int] = field(default_factory=dict)
    load: Stage | None = None
    started_at: str | None = None
    duration_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    requests_per_s: float | None = None
    output_tokens_per_s: float | None = None
    total_tokens_per_s: float | None = None
    goodput: float | None = None
    values: dict[str, list[float]] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)


@dataclass
class Found:
    """One file. `repetitions` holds the stages of each; most tools write one a file."""

    tool: str
    repetitions: list[list[FoundStage]]
    version: str | None = None
    model: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    interrupted: bool = False
    load_told: bool = True  # whether loads and `about` tell two works apart; else somebody has to say that they are one
    environment: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)  # of the work: what two files must share to be the same
    definitions: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def closed(streams: int, count: int) -> Stage:
    return Stage(name=f"c{streams}", concurrency=streams, request_count=max(1, min(count, MOST_REQUESTS)))


def opened(rate: float, count: int, arrival: Arrival | None, burstiness: float | None = None) -> Stage:
    """`burstiness` is the shape of gamma arrivals. Of an arrival that nobody tells the stage says nothing either."""
    text = f"{rate:.6g}"
    return Stage(
        name=label("r" + text), request_rate=text, request_count=max(1, min(count, MOST_REQUESTS)), arrival=arrival,
        burstiness=None if burstiness is None else f"{burstiness:.6g}",
    )  # fmt: skip


def label(text: str) -> str:
    """As stages are called: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "all"


def number(value: Any) -> float | None:
    """A finite number; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def whole(value: Any) -> int | None:
    found = number(value)
    return None if found is None else round(found)


def scaled(value: Any, factor: float) -> float | None:
    found = number(value)
    return None if found is None else found * factor


def at(seconds: Any) -> str | None:
    """Unix seconds -> RFC 3339."""
    found = number(seconds)
    if found is None or not 0 < found < 1e11:
        return None
    return datetime.fromtimestamp(found, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def need(document: Mapping[str, Any], *path: str) -> Any:
    """What has to be there. Raises InvalidInput naming it."""
    value: Any = document
    for k, name in enumerate(path):
        if not isinstance(value, Mapping) or name not in value:
            raise InvalidInput(f"it lacks {'.'.join(path[: k + 1])}")
        value = value[name]
    return value


def known(values: Iterable[Any]) -> list[float]:
    return [found for value in values if (found := number(value)) is not None]
