"""Sums of one stage (one repetition, or several pooled): everything a result needs, in memory that does not grow with
the run. Raw answers are dropped once decoded, values go to `Distribution`, arrivals to bins of 10 ms; what still grows is
16 bytes a request.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..load.frames import End
from ..stats.distribution import Distribution
from .metrics import METRICS
from .sample import Sample

if TYPE_CHECKING:
    Stamps = array[int]
else:
    Stamps = array  # read at run time, where Python 3.11 cannot subscript it

BIN_NS = 10_000_000
RECENT = 500  # answers that progress is computed from
MOST_TURNS = 64  # later ones are counted as the last of these
BOUNDED = ("ttft", "tpot", "e2e")  # metrics whose stamps may be uncertain


def _per_metric() -> dict[str, Distribution]:
    return {metric.id: Distribution() for metric in METRICS}


@dataclass
class Turn:
    """What the answers to one turn of conversations came to."""

    ttft: Distribution = field(default_factory=Distribution)
    e2e: Distribution = field(default_factory=Distribution)
    prompt_tokens: int = 0
    prompts_told: int = 0  # answers that told their prompt's tokens
    cached_tokens: int = 0
    cached_told: int = 0

    def merge(self, other: Turn) -> None:
        self.ttft.merge(other.ttft)
        self.e2e.merge(other.e2e)
        self.prompt_tokens += other.prompt_tokens
        self.prompts_told += other.prompts_told
        self.cached_tokens += other.cached_tokens
        self.cached_told += other.cached_told


@dataclass
class Collected:
    """Add samples, then read. Times in nanoseconds; `limits` are (metric, seconds) that a good request keeps."""

    limits: Sequence[tuple[str, float]] = ()
    values: dict[str, Distribution] = field(default_factory=_per_metric)
    lowest: dict[str, Distribution] = field(default_factory=lambda: {name: Distribution() for name in BOUNDED})
    highest: dict[str, Distribution] = field(default_factory=lambda: {name: Distribution() for name in BOUNDED})
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    reported_models: Counter[str] = field(default_factory=Counter)
    read_lags_s: Distribution = field(default_factory=Distribution)
    client_lags_s: Distribution = field(default_factory=Distribution)
    turns: dict[int, Turn] = field(default_factory=dict)
    tokens_by_bin: Counter[int] = field(default_factory=Counter)
    ends: Stamps = field(default_factory=lambda: array("q"))
    first_tokens: Stamps = field(default_factory=lambda: array("q"))
    recent_ttft_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    recent_tpot_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    recent_read_lag_s: deque[float] = field(default_factory=lambda: deque(maxlen=10 * RECENT))
    recent_send_lag_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    windows: list[End] = field(default_factory=list)
    due: int = 0
    sent: int = 0
    succeeded: int = 0
    cancelled: int = 0
    good: int = 0
    chunks: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    prompt_known: bool = False
    cached_known: bool = False
    mismatches: int = 0
    reads: int = 0
    coalesced_reads: int = 0
    coalesced_interval_ns: int = 0
    uncertain: int = 0
    last_end_ns: int = 0
    ended_early: str | None = None
    pods: int = 1
    clock_uncertainty_ns: int = 0  # how well the pods' clocks are known against each other

    def add(self, sample: Sample) -> None:
        self.due += 1
        self.reads += sample.reads
        self.coalesced_reads += sample.coalesced_reads
        self.coalesced_interval_ns = max(self.coalesced_interval_ns, sample.coalesced_interval_ns)
        self.read_lags_s.extend(sample.read_lags_s)
        self.recent_read_lag_s.extend(sample.read_lags_s)
        if sample.sent_ns is not None:
            self.sent += 1
            lag = (sample.sent_ns - sample.due_ns) / 1e9
            self.client_lags_s.extend((lag,))
            self.recent_send_lag_s.append(lag)
        self.last_end_ns = max(self.last_end_ns, sample.end_ns)
        if sample.failure is not None:
            self._fail(sample)
        else:
            self._succeed(sample)

    def _fail(self, sample: Sample) -> None:
        assert sample.failure is not None
        if sample.failure.kind == "cancelled":
            self.cancelled += 1  # the server was serving it: its tokens count towards throughput, a chunk as one
            self._arrived(sample.content_ns, 1.0)
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
        for name, recent in (("ttft", self.recent_ttft_s), ("tpot", self.recent_tpot_s)):
            if name in firsts:
                recent.append(firsts[name])
        self.good += all(_within(firsts, name, limit) for name, limit in self.limits)
        self._bounds(sample, firsts)
        self._count_tokens(sample)
        if sample.turn is not None:
            self._turn(sample, sample.turn, firsts)
        self.ends.append(sample.end_ns)
        if sample.reported_model:
            self.reported_models[sample.reported_model] += 1

    def _bounds(self, sample: Sample, values: dict[str, float]) -> None:
        """Where a stamp is shared, between what and what a value lies."""
        content, first, last = sample.content_ns, sample.first_earliest_ns, sample.last_earliest_ns
        self.uncertain += first is not None
        first_early = (content[0] - first) / 1e9 if first is not None else 0.0
        last_early = (content[-1] - last) / 1e9 if last is not None else 0.0
        spread = {"ttft": (first_early, 0.0), "e2e": (last_early, 0.0)}
        if sample.output_tokens and sample.output_tokens > 1:
            gaps = sample.output_tokens - 1
            spread["tpot"] = last_early / gaps, first_early / gaps
        for name, (early, late) in spread.items():
            if name in values:
                self.lowest[name].extend((max(0.0, values[name] - early),))
                self.highest[name].extend((values[name] + late,))

    def _turn(self, sample: Sample, number: int, values: dict[str, float]) -> None:
        turn = self.turns.setdefault(min(number, MOST_TURNS - 1), Turn())
        for name in ("ttft", "e2e"):
            if name in values:
                getattr(turn, name).extend((values[name],))
        turn.prompt_tokens += sample.prompt_tokens or 0
        turn.cached_tokens += sample.cached_tokens or 0
        turn.prompts_told += sample.prompt_tokens is not None
        turn.cached_told += sample.cached_tokens is not None

    def _count_tokens(self, sample: Sample) -> None:
        self.output_tokens += sample.output_tokens or 0
        if sample.prompt_tokens is not None:
            self.prompt_tokens += sample.prompt_tokens
            self.prompt_known = True
        if sample.cached_tokens is not None:
            self.cached_tokens += sample.cached_tokens
            self.cached_known = True
        self.reasoning_tokens += sample.reasoning_tokens or 0
        if sample.token_source:
            self.sources[sample.token_source] += 1
        chunks = len(sample.content_ns)
        if sample.output_tokens is not None and sample.output_tokens < chunks:
            self.mismatches += 1
        if chunks:
            self._arrived(sample.content_ns, (sample.output_tokens or 0) / chunks)
            self.first_tokens.append(sample.content_ns[0])

    def _arrived(self, stamps: Sequence[int], tokens_each: float) -> None:
        self.chunks += len(stamps)
        bins = [stamp // BIN_NS for stamp in stamps]
        if tokens_each == 1:
            self.tokens_by_bin.update(bins)
            return
        for at, count in Counter(bins).items():
            self.tokens_by_bin[at] += count * tokens_each  # type: ignore[assignment]

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @classmethod
    def pooled(cls, parts: list[Collected]) -> Collected:
        """All samples of several repetitions as one."""
        total = cls()
        for part in parts:
            for name in ("values", "lowest", "highest"):
                for metric, values in getattr(part, name).items():
                    getattr(total, name)[metric].merge(values)
            for name in ("errors", "sources", "reported_models"):
                getattr(total, name).update(getattr(part, name))
            for name in _SUMS:
                setattr(total, name, getattr(total, name) + getattr(part, name))
            for number, turn in part.turns.items():
                total.turns.setdefault(number, Turn()).merge(turn)
            total.messages = {**part.messages, **total.messages}
            total.prompt_known = total.prompt_known or part.prompt_known
            total.cached_known = total.cached_known or part.cached_known
            total.coalesced_interval_ns = max(total.coalesced_interval_ns, part.coalesced_interval_ns)
            total.read_lags_s.merge(part.read_lags_s)
            total.client_lags_s.merge(part.client_lags_s)
            total.windows.extend(part.windows)
            total.pods = max(total.pods, part.pods)
            total.clock_uncertainty_ns = max(total.clock_uncertainty_ns, part.clock_uncertainty_ns)
        return total

    @classmethod
    def together(cls, parts: list[Collected]) -> Collected:
        """One phase that several machines drove at the same time, stamps on one clock, as one."""
        total = cls.pooled(parts)
        total.limits = parts[0].limits
        for part in parts:
            total.tokens_by_bin.update(part.tokens_by_bin)
            total.ends.extend(part.ends)
            total.first_tokens.extend(part.first_tokens)
        total.windows = [End.together([end for part in parts for end in part.windows])]
        total.last_end_ns = max(part.last_end_ns for part in parts)
        total.ended_early = next((part.ended_early for part in parts if part.ended_early), None)
        total.pods = len(parts)
        return total


_SUMS = (
    "due", "sent", "succeeded", "cancelled", "good", "chunks", "output_tokens", "prompt_tokens", "cached_tokens",
    "reasoning_tokens", "mismatches", "reads", "coalesced_reads", "uncertain",
)  # fmt: skip


def _within(values: dict[str, float], metric: str, limit: float) -> bool:
    """One request against one limit; its own ITL is its TPOT, and an answer of one token has no gap to miss."""
    value = values.get("tpot" if metric == "itl" else metric)
    return value <= limit if value is not None else metric in ("tpot", "itl")


def steady_window(part: Collected, lanes: int) -> tuple[int, int] | None:
    """(start, end) in monotonic nanoseconds, whole bins: from when every lane had its first token to the last send.

    None where that is no fifth of the window.
    """
    if not part.windows or not part.first_tokens:
        return None
    firsts = sorted(part.first_tokens)
    start = -(-firsts[min(lanes, len(firsts)) - 1] // BIN_NS) * BIN_NS
    end = part.windows[-1].steady_until_ns // BIN_NS * BIN_NS
    return (start, end) if end - start > (end - part.windows[-1].start_ns) // 5 else None


def tokens_between(part: Collected, start: int, end: int) -> float:
    """Output tokens that arrived in [start, end), whole bins; a chunk's share of its answer's tokens counts when the
    chunk arrives."""
    first, last = start // BIN_NS, end // BIN_NS
    return float(sum(tokens for at, tokens in part.tokens_by_bin.items() if first <= at < last))
