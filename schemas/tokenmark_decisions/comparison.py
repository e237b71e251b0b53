"""Two results of the same work -> what is better, worse, the same or not known (pure). The rules are those of docs/gate.md.

A line is REGRESSED where its value is worse by the minimum effect at least *and* chance does it less often than the limit, OK
where the 95 % interval leaves no room for so much, IMPROVED as REGRESSED the other way, and INCONCLUSIVE otherwise: then more
repetitions or requests would tell. Gates are judged together: all of them give a false alarm at most that often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from tokenmark_schemas.comparison import ComparedRun, Comparison, ComparisonLine
from tokenmark_schemas.result import Repetition, RunResult, StageResult

from .comparability import reasons_of
from .compared import COMPARED, QUANTILES, Row, is_open_loop, side_of
from .distribution import needed_for
from .further import further_requests, repetitions_needed
from .repetitions import apart, said
from .two_level import Difference, Side, holm

FALSE_ALARMS = 0.01
LEAST_REPETITIONS = 3


@dataclass(frozen=True)
class Gate:
    """One row, or with no statistic every row of a metric; with no stage all of them; with no effect the row's own."""

    metric: str
    statistic: str | None = None
    stage: str | None = None
    minimum_effect: float | None = None

    def covers(self, row: Row, stage: str) -> bool:
        return self.metric == row.metric and self.statistic in (None, row.statistic) and self.stage in (None, stage)


def gates_of(result: RunResult) -> list[Gate]:
    """The metrics that a run's objectives name: what a person cares about, where they name no gates."""
    found = dict.fromkeys((o.metric, o.statistic) for o in result.objectives)
    rows = {row.name: Gate(row.metric, row.statistic) for row in COMPARED}
    names = ("success_rate" if m == "errors" else m if m in rows else f"{m}:{s}" for m, s in found)
    return [rows[name] for name in dict.fromkeys(names) if name in rows]


@dataclass(frozen=True)
class Rules:
    """`effects` are minimum effects by row name or metric; `effect` that of every ratio without one of its own."""

    gates: Sequence[Gate] = ()
    effect: float | None = None
    effects: Mapping[str, float] = field(default_factory=dict)
    least_repetitions: int = LEAST_REPETITIONS
    stages: Sequence[str] = ()

    def gate_of(self, row: Row, stage: str) -> Gate | None:
        return next((gate for gate in self.gates if gate.covers(row, stage)), None)

    def minimum_effect(self, row: Row, stage: str) -> float:
        gate = self.gate_of(row, stage)
        named = (gate.minimum_effect if gate else None, self.effects.get(row.name), self.effects.get(row.metric))
        general = self.effect if row.kind == "ratio" else None
        return next((value for value in (*named, general) if value is not None), row.minimum_effect)


@dataclass(frozen=True)
class _Judged:
    """A line whose sides are known, before the lines are judged together."""

    stage: str
    row: Row
    difference: Difference
    effect: float
    gate: bool

    @property
    def sign(self) -> int:
        """1 where more is worse."""
        return 1 if self.row.better == "lower" else -1

    @property
    def worse(self) -> float:
        """The change for the worse, as a share of the baseline."""
        return self.sign * self.change(self.difference.estimate)

    def change(self, difference: float) -> float:
        return math.expm1(difference) if self.row.kind == "ratio" else difference

    @cached_property
    def chance(self) -> tuple[float, float]:
        """(that it is not worse, that it is not better)."""
        below = self.difference.below(0.0)
        return (below, 1 - below) if self.sign > 0 else (1 - below, below)


def compare(
    baseline: RunResult, current: RunResult, rules: Rules = Rules(), *, sources: tuple[str, str] = ("", "")
) -> Comparison:
    """Every row of every stage that both have. What speaks against comparing them at all, `comparability` says."""
    pairs = _stages(baseline, current, rules)
    judged: list[_Judged] = []
    lines: list[ComparisonLine] = []
    for old, new in pairs:
        for row in COMPARED:
            if row.open_loop_only and not is_open_loop(new):
                continue
            before, after = side_of(row, _in_order(old)), side_of(row, _in_order(new))
            gate, effect = rules.gate_of(row, new.name) is not None, rules.minimum_effect(row, new.name)
            if isinstance(before, Side) and isinstance(after, Side):
                judged.append(_Judged(new.name, row, Difference(before, after), effect, gate))
            elif gate or _known(row, old) or _known(row, new):
                why = before if isinstance(before, str) else str(after)
                lines.append(_unknown(new.name, row, (old, new), effect, gate=gate, why=why))
    for gates in (True, False):
        lines += _together([line for line in judged if line.gate is gates])
    order = {(new.name, row.name): (k, n) for k, (_, new) in enumerate(pairs) for n, row in enumerate(COMPARED)}
    lines.sort(key=lambda line: order[line.stage, line.name])
    return Comparison(
        baseline=_described(baseline, sources[0]), current=_described(current, sources[1]), result=_result(lines),
        false_alarm_limit=FALSE_ALARMS, notes=_notes(baseline, current, rules, lines), lines=lines,
    )  # fmt: skip


def _together(judged: Sequence[_Judged]) -> list[ComparisonLine]:
    """Lines that are judged as one family."""
    worse = holm([line.chance[0] for line in judged])
    better = holm([line.chance[1] for line in judged])
    return [_line(*each) for each in zip(judged, worse, better, strict=True)]


def _line(judged: _Judged, p_worse: float, p_better: float) -> ComparisonLine:
    row, found = judged.row, judged.difference
    if not found.freedom:
        return _of_one(judged)
    low, high = (judged.change(end) for end in found.interval())
    most_worse = high if judged.sign > 0 else -low
    status, reason = "INCONCLUSIVE", None
    if judged.worse >= judged.effect and p_worse <= FALSE_ALARMS:
        status = "REGRESSED"
    elif -judged.worse >= judged.effect and p_better <= FALSE_ALARMS:
        status = "IMPROVED"
    elif most_worse < judged.effect:
        status = "OK"
    if status in ("REGRESSED", "IMPROVED") and drifts(found):
        status = "INCONCLUSIVE"
        reason = (
            "it moved one way through the repetitions of both runs: this may be drift, not the change; interleave them"
        )
    elif status == "INCONCLUSIVE":
        reason = (
            "chance alone does so much too often" if judged.worse >= judged.effect else "so much may hide in the noise"
        )
    plan = (judged.worse, judged.effect, found)
    undecided = status == "INCONCLUSIVE"
    values = [math.exp(side.mean) if row.kind == "ratio" else side.mean for side in (found.baseline, found.current)]
    return ComparisonLine(
        stage=judged.stage, metric=row.metric, statistic=row.statistic, unit=row.unit, better=row.better,
        baseline=values[0], current=values[1], delta=values[1] - values[0], change=judged.change(found.estimate),
        low=low, high=high, p_worse=p_worse, p_better=p_better, minimum_effect=judged.effect, gate=judged.gate,
        status=status, reason=reason,
        repetitions_needed=repetitions_needed(*plan) if undecided else None,
        requests_factor=further_requests(*plan) if undecided else None,
    )  # fmt: skip


def _of_one(judged: _Judged) -> ComparisonLine:
    """One repetition a side: the change is known, and nothing of how much repetitions differ by themselves."""
    row, found = judged.row, judged.difference
    values = [math.exp(side.mean) if row.kind == "ratio" else side.mean for side in (found.baseline, found.current)]
    return ComparisonLine(
        stage=judged.stage, metric=row.metric, statistic=row.statistic, unit=row.unit, better=row.better,
        baseline=values[0], current=values[1], delta=values[1] - values[0], change=judged.change(found.estimate),
        minimum_effect=judged.effect, gate=judged.gate, status="INCONCLUSIVE", repetitions_needed=LEAST_REPETITIONS,
        reason="one repetition a side says nothing of how far repetitions lie apart by themselves",
    )  # fmt: skip


def drifts(found: Difference) -> bool:
    """Both sides moved the same way as the difference, from each repetition to the next, by half as much as it at least."""
    sign = 1 if found.estimate > 0 else -1
    for side in (found.baseline, found.current):
        values = [sign * value for value in side.values]
        steady = all(a < b for a, b in pairwise(values))
        if len(values) < 3 or not steady or values[-1] - values[0] < abs(found.estimate) / 2:
            return False
    return True


def _unknown(
    stage: str, row: Row, pair: tuple[StageResult, StageResult], effect: float, *, gate: bool, why: str
) -> ComparisonLine:
    """A line that cannot be judged: a repetition lacks the value."""
    pooled = [getattr(found.metrics.get(row.metric), row.statistic or "", None) for found in pair]
    counts = [rep.metrics[row.metric].count for found in pair for rep in found.repetitions if row.metric in rep.metrics]
    factor = None
    if row.statistic in QUANTILES and counts and min(counts):
        factor = max(1.0, math.ceil(10 * needed_for(QUANTILES[row.statistic]) / min(counts)) / 10)
    return ComparisonLine(
        stage=stage, metric=row.metric, statistic=row.statistic, unit=row.unit, better=row.better, baseline=pooled[0],
        current=pooled[1], minimum_effect=effect, gate=gate, status="INCONCLUSIVE", reason=why, requests_factor=factor,
    )  # fmt: skip


def _known(row: Row, stage: StageResult) -> bool:
    return row.statistic is not None and getattr(stage.metrics.get(row.metric), row.statistic, None) is not None


def _in_order(stage: StageResult) -> list[Repetition]:
    return sorted(stage.repetitions, key=lambda rep: rep.order)


def _stages(baseline: RunResult, current: RunResult, rules: Rules) -> list[tuple[StageResult, StageResult]]:
    old = {stage.name: stage for stage in baseline.stages}
    wanted = set(rules.stages) or set(old)
    return [(old[new.name], new) for new in current.stages if new.name in old and new.name in wanted]


def _result(lines: Sequence[ComparisonLine]) -> str:
    gates = {line.status for line in lines if line.gate}
    if not gates:
        return "not_judged"
    return "regressed" if "REGRESSED" in gates else "inconclusive" if "INCONCLUSIVE" in gates else "passed"


def _described(result: RunResult, source: str) -> ComparedRun:
    return ComparedRun(
        name=result.run.name, namespace=result.run.namespace, source=source or result.run.name, started_at=result.run.started_at,
        provider=result.provenance.environment.get("provider"), verdict=result.verdict.state,
        repetitions=result.run.repetitions, fingerprint=result.provenance.fingerprint,
    )  # fmt: skip


def _apart(result: RunResult) -> list[str]:
    """Repetitions that lie apart from the run's others. They stay in every figure: leaving one out is a decision, not
    arithmetic. And those that were measured again, for their first values are in none."""
    found = [
        f"repetition {stage.repetitions[each.place].index + 1} of {result.run.name} lies apart at {stage.name}: {each.metric} "
        f"p50 {each.value / each.median - 1:+.1%} of the median of all"
        for stage in result.stages
        for each in apart(stage)
    ]
    return found + [f"in {result.run.name}, {said(rerun)}" for rerun in result.run.reruns]


def _notes(baseline: RunResult, current: RunResult, rules: Rules, lines: Sequence[ComparisonLine]) -> list[str]:
    notes = [
        f"{result.run.name} is degraded: {reasons_of(result)}"
        for result in (baseline, current)
        if result.verdict.state == "degraded"
    ]
    only = {stage.name for stage in baseline.stages} ^ {stage.name for stage in current.stages}
    if only:
        notes.append(f"stages that only one of them has are left out: {', '.join(sorted(only))}")
    moved = any(line.status in ("REGRESSED", "IMPROVED") for line in lines)
    if min(baseline.run.repetitions, current.run.repetitions) < 5 and moved:
        notes.append(
            "a server that is fast or slow for whole repetitions at a time moves like this by chance in 1 of 64 pairs of three"
        )
    notes += [note for result in (baseline, current) for note in _apart(result)]
    for gate in rules.gates:
        if not any(line.gate and gate.metric == line.metric and gate.stage in (None, line.stage) for line in lines):
            notes.append(f"no line is held to the gate {gate.metric}: neither run has it")
    return notes
