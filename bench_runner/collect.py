"""Sums of one stage (one repetition, or several pooled): everything a result needs, without keeping the samples.

Values of token-level metrics are kept as packed doubles, 8 bytes a token; raw answers are dropped once decoded.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from .load.link import End
from .metrics import METRICS
from .sample import Sample


@dataclass
class Collected:
    """Add samples, then read. Times in nanoseconds."""

    values: dict[str, array[float]] = field(default_factory=lambda: {m.id: array("d") for m in METRICS})
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    due: int = 0
    sent: int = 0
    succeeded: int = 0
    cancelled: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    prompt_known: bool = False
    mismatches: int = 0
    reads: int = 0
    coalesced_reads: int = 0
    coalesced_interval_ns: int = 0
    read_lags_s: array[float] = field(default_factory=lambda: array("d"))
    client_lags_s: array[float] = field(default_factory=lambda: array("d"))
    arrivals: list[tuple[array[int], float]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    first_tokens: list[int] = field(default_factory=list)
    per_request: list[dict[str, float]] = field(default_factory=list)
    reported_models: Counter[str] = field(default_factory=Counter)
    windows: list[End] = field(default_factory=list)
    last_end_ns: int = 0

    def add(self, sample: Sample) -> None:
        self.due += 1
        self.sent += sample.sent_ns is not None
        self.reads += sample.reads
        self.coalesced_reads += sample.coalesced_reads
        self.coalesced_interval_ns = max(self.coalesced_interval_ns, sample.coalesced_interval_ns)
        self.read_lags_s.extend([lag / 1e9 for lag in sample.read_lags_ns])
        if sample.sent_ns is not None:
            self.client_lags_s.append((sample.sent_ns - sample.due_ns) / 1e9)
        self.last_end_ns = max(self.last_end_ns, sample.end_ns)
        if sample.failure is not None:
            self._fail(sample)
        else:
            self._succeed(sample)

    def _fail(self, sample: Sample) -> None:
        assert sample.failure is not None
        if sample.failure.kind == "cancelled":
            self.cancelled += 1
            if sample.content_ns:  # the server was serving it: its tokens count towards throughput, a chunk as one
                self.arrivals.append((sample.content_ns, 1.0))
            return
        self.errors[sample.failure.kind] += 1
        self.messages.setdefault(sample.failure.kind, sample.failure.message)

    def _succeed(self, sample: Sample) -> None:
        self.succeeded += 1
        firsts: dict[str, float] = {}
        for metric in METRICS:
            found = metric.values(sample)
            self.values[metric.id].extend(found)
            if isinstance(found, tuple) and found:
                firsts[metric.id] = found[0]
        self.per_request.append(firsts)
        self.output_tokens += sample.output_tokens or 0
        if sample.prompt_tokens is not None:
            self.prompt_tokens += sample.prompt_tokens
            self.prompt_known = True
        if sample.token_source:
            self.sources[sample.token_source] += 1
        chunks = len(sample.content_ns)
        if sample.output_tokens is not None and sample.output_tokens < chunks:
            self.mismatches += 1
        if chunks:
            self.arrivals.append((sample.content_ns, (sample.output_tokens or 0) / chunks))
            self.first_tokens.append(sample.content_ns[0])
        self.ends.append(sample.end_ns)
        if sample.reported_model:
            self.reported_models[sample.reported_model] += 1

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @classmethod
    def pooled(cls, parts: list[Collected]) -> Collected:
        """All samples of several repetitions as one."""
        total = cls()
        for part in parts:
            for name, values in part.values.items():
                total.values[name].extend(values)
            for name in ("errors", "sources", "reported_models"):
                getattr(total, name).update(getattr(part, name))
            for name in _SUMS:
                setattr(total, name, getattr(total, name) + getattr(part, name))
            total.messages = {**part.messages, **total.messages}
            total.prompt_known = total.prompt_known or part.prompt_known
            total.coalesced_interval_ns = max(total.coalesced_interval_ns, part.coalesced_interval_ns)
            total.read_lags_s.extend(part.read_lags_s)
            total.client_lags_s.extend(part.client_lags_s)
            total.per_request.extend(part.per_request)
            total.windows.extend(part.windows)
        return total


_SUMS = (
    "due", "sent", "succeeded", "cancelled", "output_tokens", "prompt_tokens", "mismatches", "reads", "coalesced_reads",
)  # fmt: skip


def steady_window(part: Collected, lanes: int) -> tuple[int, int] | None:
    """(start, end) in monotonic nanoseconds: from when every lane had its first token to the last send; None if empty."""
    if not part.windows or not part.first_tokens:
        return None
    end = part.windows[-1].stop_ns
    firsts = sorted(part.first_tokens)
    start = firsts[min(lanes, len(firsts)) - 1]
    return (start, end) if end - start > (end - part.windows[-1].start_ns) // 5 else None


def tokens_between(part: Collected, start: int, end: int) -> float:
    """Output tokens that arrived in the window; a chunk's share of its answer's tokens counts when the chunk arrives."""
    total = 0.0
    for stamps, weight in part.arrivals:
        if stamps[-1] < start or stamps[0] > end:
            continue
        if stamps[0] >= start and stamps[-1] <= end:
            total += weight * len(stamps)
        else:
            total += weight * sum(1 for stamp in stamps if start <= stamp <= end)
    return total
