"""Sums of one phase (one repetition of a stage, or several pooled): everything a result needs, in memory that does not grow
with the run. Raw answers are dropped once decoded; what still grows is the bytes a request of `records.Flow`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenmark_decisions.distribution import Distribution

from ..engines.rag import MOST_STEPS
from ..load.clock import NS
from ..load.frames import End
from .metrics import METRICS
from .records import CLUSTERED, Called, Flow, Latencies, Outcomes, Reads, Recent, Steps, Tested, Tokens, Traffic, Turn
from .sample import Judged, Sample

EXPLAINED = 0.01  # of TTFT: what the steps may leave open
MOST_TURNS = 64  # later ones are counted as the last of these
ROUNDS = 8  # of a closed loop, whose first tokens are kept


@dataclass
class Collected:
    """Add samples, then read. `limits` are (metric, seconds) that a good request keeps, `lanes` the slots of a closed loop."""

    limits: Sequence[tuple[str, float]] = ()
    lanes: int = 0
    outcomes: Outcomes = field(default_factory=Outcomes)
    tokens: Tokens = field(default_factory=Tokens)
    reads: Reads = field(default_factory=Reads)
    traffic: Traffic = field(default_factory=Traffic)
    latencies: Latencies = field(default_factory=Latencies)
    steps: Steps = field(default_factory=Steps)
    turns: dict[int, Turn] = field(default_factory=dict)
    called: dict[str, Called] = field(default_factory=dict)
    tested: dict[str, Tested] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)
    recent: Recent = field(default_factory=Recent)
    windows: list[End] = field(default_factory=list)
    last_end_ns: int = 0
    ended_early: str | None = None
    pods: int = 1
    clock_uncertainty_ns: int = 0  # how well the pods' clocks are known against each other

    # --- one sample -------------------------------------------------------------------------------------------------

    def add(self, sample: Sample) -> None:
        self.outcomes.due += 1
        self.outcomes.sent += sample.sent_ns is not None
        self.tokens.asked += sample.output_limit or 0
        self._add_reads(sample)
        lag = (sample.ready_ns - sample.due_ns) / NS
        self.latencies.send_lags_s.extend((lag,))
        self.recent.send_lag_s.append(lag)
        self.last_end_ns = max(self.last_end_ns, sample.end_ns)
        if sample.judged is not None:
            self._judge(sample.judged)
        if sample.failure is not None:
            self._fail(sample)
        else:
            self._succeed(sample)

    def _add_reads(self, sample: Sample) -> None:
        reads = self.reads
        reads.count += sample.reads
        reads.coalesced_s.extend(sample.coalesced_s)
        reads.lags_s.extend(sample.read_lags_s)
        self.recent.read_lag_s.extend(sample.read_lags_s)

    def _fail(self, sample: Sample) -> None:
        assert sample.failure is not None
        outcomes = self.outcomes
        if sample.operation is not None:
            self.called.setdefault(sample.operation, Called()).failed += sample.failure.kind != "cancelled"
        if sample.failure.kind == "cancelled":
            outcomes.cancelled += 1  # the server was serving it: its tokens count towards throughput, a chunk as one
            self._arrived(sample.content_ns, 1.0)
            return
        outcomes.errors[sample.failure.kind] += 1
        outcomes.messages.setdefault(sample.failure.kind, sample.failure.message)
        outcomes.failing += 1
        outcomes.failing_most = max(outcomes.failing_most, outcomes.failing)

    def _succeed(self, sample: Sample) -> None:
        outcomes, latencies = self.outcomes, self.latencies
        outcomes.succeeded += 1
        outcomes.failing = 0
        outcomes.unstreamed += sample.unstreamed
        traffic = self.traffic
        traffic.sent_bytes += sample.sent_bytes
        traffic.received_bytes += sample.received_bytes
        traffic.stalled += sample.stalled_ns > 0
        traffic.stalled_ns += sample.stalled_ns
        firsts: dict[str, float] = {}
        for metric in METRICS:
            found = metric.values(sample)
            latencies.values[metric.id].extend(found)
            if isinstance(found, tuple) and found:
                firsts[metric.id] = found[0]
            elif metric.id in CLUSTERED and isinstance(found, list):
                latencies.clusters[metric.id].add(found)
        for name, recent in (("ttft", self.recent.ttft_s), ("tpot", self.recent.tpot_s)):
            if name in firsts:
                recent.append(firsts[name])
        if sample.seq >= self.lanes:
            self.recent.settled_ttft_s.extend([firsts["ttft"]] if "ttft" in firsts else [])
            self.recent.settled_tpot_s.extend([firsts["tpot"]] if "tpot" in firsts else [])
        if all(_within(firsts, name, limit) for name, limit in self.limits):
            outcomes.good += 1
            outcomes.good_tokens += sample.output_tokens or 0
        self._bounds(sample, firsts)
        self._count_tokens(sample)
        self._parts(sample, firsts)
        self.flow.begun.append(sample.due_ns)
        self.flow.ended.append(sample.end_ns)

    def _bounds(self, sample: Sample, values: dict[str, float]) -> None:
        """Where a stamp is shared, between what and what a value lies."""
        content, first, last = sample.content_ns, sample.first_earliest_ns, sample.last_earliest_ns
        self.reads.uncertain += first is not None
        first_early = (content[0] - first) / NS if first is not None else 0.0
        last_early = (content[-1] - last) / NS if last is not None else 0.0
        spread = {"ttft": (first_early, 0.0), "e2e": (last_early, 0.0)}
        if sample.output_tokens and sample.output_tokens > 1:
            gaps = sample.output_tokens - 1
            spread["tpot"] = last_early / gaps, first_early / gaps
        for name, (early, late) in spread.items():
            if name in values:
                self.latencies.lowest[name].extend((max(0.0, values[name] - early),))
                self.latencies.highest[name].extend((values[name] + late,))

    def _parts(self, sample: Sample, firsts: dict[str, float]) -> None:
        """By step of a pipeline, by turn of a conversation, by operation on a database."""
        if sample.steps_s:
            self._steps(sample, sample.steps_s, firsts.get("ttft"))
        if sample.turn is not None:
            self._turn(sample, sample.turn, firsts)
        if sample.operation is not None:
            self._call(sample, sample.operation, firsts)

    def _steps(self, sample: Sample, told: dict[str, float], ttft: float | None) -> None:
        known = self.steps.seconds
        for name, seconds in told.items():
            if name in known or len(known) < MOST_STEPS:
                known.setdefault(name, Distribution()).extend((seconds,))
        if ttft is not None:
            gap = ttft - sum(told.values())
            self.steps.gap_s.extend((gap,))
            self.steps.unexplained += abs(gap) > EXPLAINED * ttft
        if sample.retrieved is not None:
            self.steps.retrieved.extend((float(sample.retrieved),))

    def _turn(self, sample: Sample, number: int, values: dict[str, float]) -> None:
        turn = self.turns.setdefault(min(number, MOST_TURNS - 1), Turn())
        for name, kept in (("ttft", turn.ttft), ("e2e", turn.e2e)):
            if name in values:
                kept.extend((values[name],))
        turn.prompt_tokens += sample.prompt_tokens or 0
        turn.cached_tokens += sample.cached_tokens or 0
        turn.prompts_told += sample.prompt_tokens is not None
        turn.cached_told += sample.cached_tokens is not None

    def _call(self, sample: Sample, operation: str, values: dict[str, float]) -> None:
        called = self.called.setdefault(operation, Called())
        called.e2e.extend((values["e2e"],))
        self.recent.call_s.append(values["e2e"])
        called.e2e_scheduled.extend((values["e2e_scheduled"],))
        if sample.recall is not None:
            called.recall.extend((sample.recall,))

    def _judge(self, judged: Judged) -> None:
        found = self.tested.setdefault(judged.test, Tested(judged.kind))
        found.asked += 1
        found.right += judged.right
        if judged.right:
            found.good = judged.answer if found.good is None else found.good
        else:
            found.wrong = judged.answer if found.wrong is None else found.wrong

    def _count_tokens(self, sample: Sample) -> None:
        tokens, chunks = self.tokens, len(sample.content_ns)
        tokens.output += sample.output_tokens or 0
        tokens.reasoning += sample.reasoning_tokens or 0
        if sample.prompt_tokens is not None:
            tokens.prompt = (tokens.prompt or 0) + sample.prompt_tokens
        if sample.cached_tokens is not None:
            tokens.cached = (tokens.cached or 0) + sample.cached_tokens
        if sample.token_source:
            tokens.sources[sample.token_source] += 1
        if sample.reported_model:
            tokens.models[sample.reported_model] += 1
        if sample.output_tokens is not None and sample.output_tokens < chunks:
            tokens.mismatches += 1
        if chunks:
            self._arrived(sample.content_ns, (sample.output_tokens or 0) / chunks)
            if sample.seq < self.lanes:
                self.flow.lane_firsts[sample.seq] = sample.content_ns[0]
            if sample.seq < ROUNDS * self.lanes:
                self.flow.first_tokens.append(sample.content_ns[0])

    def _arrived(self, stamps: Sequence[int], tokens_each: float) -> None:
        self.tokens.chunks += len(stamps)
        self.flow.tokens.add(stamps, tokens_each)

    # --- several as one ---------------------------------------------------------------------------------------------

    def _merge(self, part: Collected) -> None:
        self.outcomes.merge(part.outcomes)
        self.tokens.merge(part.tokens)
        self.reads.merge(part.reads)
        self.traffic.merge(part.traffic)
        self.steps.merge(part.steps)
        self.latencies.merge(part.latencies)
        for number, turn in part.turns.items():
            self.turns.setdefault(number, Turn()).merge(turn)
        for operation, called in part.called.items():
            self.called.setdefault(operation, Called()).merge(called)
        for test, tested in part.tested.items():
            self.tested.setdefault(test, Tested(tested.kind)).merge(tested)
        self.windows.extend(part.windows)
        self.pods = max(self.pods, part.pods)
        self.clock_uncertainty_ns = max(self.clock_uncertainty_ns, part.clock_uncertainty_ns)

    @classmethod
    def pooled(cls, parts: list[Collected]) -> Collected:
        """All samples of several repetitions as one; what flowed when stays with each."""
        total = cls()
        for part in parts:
            total._merge(part)
        return total

    @classmethod
    def together(cls, parts: list[Collected]) -> Collected:
        """One phase that several machines drove at the same time, stamps on one clock, as one."""
        total = cls.pooled(parts)
        total.limits, total.lanes, total.recent = parts[0].limits, parts[0].lanes, parts[0].recent
        for part in parts:
            total.flow.merge(part.flow)
        total.windows = [End.together([end for part in parts for end in part.windows])]
        total.last_end_ns = max(part.last_end_ns for part in parts)
        total.ended_early = next((part.ended_early for part in parts if part.ended_early), None)
        total.pods = len(parts)
        return total


def _within(values: dict[str, float], metric: str, limit: float) -> bool:
    """One request against one limit; its own ITL is its TPOT, and an answer of one token has no gap to miss."""
    value = values.get("tpot" if metric == "itl" else metric)
    return value <= limit if value is not None else metric in ("tpot", "itl")
