"""The highest load that still meets every objective: bracket, bisect, confirm (pure).

Levels double until one misses, the gap is halved until it is a twentieth (or one stream), and the best level is measured
once more: an answer that does not hold twice is stepped down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from tokenmark_decisions.saturation import knee
from tokenmark_schemas.result import MeasuredStage, SearchResult, SearchStep
from tokenmark_schemas.workload import Stage

CLOSE = Fraction(1, 20)
MOST = {"MaxConcurrency": 100_000, "MaxRate": 99_999_900}  # what a stage can ask for
RATE_STEPS = 100  # levels of a rate are hundredths of a request per second
Find = Literal["MaxConcurrency", "MaxRate"]


@dataclass
class Search:
    """Ask `next_level`, measure, tell `note`; levels are streams, or hundredths of a request per second."""

    find: Find
    start: int = 1
    max_steps: int = 12
    steps: list[tuple[int, bool]] = field(default_factory=list)
    client_limited: set[int] = field(default_factory=set)  # levels that were too much for this client

    @property
    def passed(self) -> int | None:
        """The highest level that met everything, each time it was tried."""
        return max((level for level, met in self._judged().items() if met), default=None)

    @property
    def missed(self) -> int | None:
        """The lowest level that did not."""
        return min((level for level, met in self._judged().items() if not met), default=None)

    @property
    def confirmed(self) -> bool:
        return self.passed is not None and self._tried(self.passed) > 1

    def _judged(self) -> dict[int, bool]:
        """A level has passed when its last measurement, which pools all of its answers, did."""
        return dict(self.steps)

    def note(self, level: int, met: bool, client_limited: bool = False) -> None:
        self.steps.append((level, met))
        if client_limited:
            self.client_limited.add(level)

    def next_level(self) -> int | None:
        """The level to measure now; None when the answer stands, or there are no steps left."""
        if len(self.steps) >= self.max_steps:
            return None
        low, high = self.passed, self.missed
        if low is None:
            return self._below(high)
        if high is None:
            most = MOST[self.find]
            return min(2 * low, most) if low < most else None
        if low > high:  # noise: a higher level passed than one that missed; try the one that missed again
            return high if self._tried(high) < 2 else None
        if high - low > max(1, int(low * CLOSE)):
            return (low + high) // 2
        return None if self.confirmed else low

    def _below(self, high: int | None) -> int | None:
        if high is None:
            return self.start
        return high // 2 if high > 1 else None

    def _tried(self, level: int) -> int:
        return sum(level == tried for tried, _ in self.steps)


def start_of(find: Find, template: Stage) -> int:
    """The first level: that of the first stage, or one."""
    if find == "MaxConcurrency":
        return template.concurrency or 1
    return max(1, round((template.rate_per_s or 1) * RATE_STEPS))


def stage_at(find: Find, template: Stage, level: int) -> Stage:
    """The first stage at another level: its length, count and arrivals stay."""
    closed = find == "MaxConcurrency"
    kept = {"duration_seconds", "request_count"} | (set() if closed else {"arrival", "burstiness"})
    load: dict[str, Any] = {"concurrency": level} if closed else {"request_rate": _rate(level)}
    return Stage(name=stage_name(find, level), **load, **template.model_dump(include=kept, exclude_none=True))


def outcome_of(search: Search, stages: Sequence[MeasuredStage], unjudged: str = "") -> SearchResult:
    """What was found so far, with the interval that the answer lies in; `unjudged` says why it could not go on."""
    scale = 1 if search.find == "MaxConcurrency" else RATE_STEPS
    names = {level: stage_name(search.find, level) for level, _ in search.steps}
    by_name = {stage.name: stage for stage in stages}
    curve = [
        (level / scale, rate) for level, name in names.items()
        if name in by_name and (rate := by_name[name].throughput.output_tokens_per_s) is not None
    ]  # fmt: skip
    low, high = search.passed, search.missed
    return SearchResult(
        find=search.find,
        unit="streams" if scale == 1 else "requests/s",
        answer=None if low is None else low / scale,
        upper=None if high is None or (low is not None and high < low) else high / scale,
        confirmed=search.confirmed,
        knee=knee(curve),
        steps=[SearchStep(stage=names[level], level=level / scale, met=met) for level, met in search.steps],
        message=unjudged or _words(search, scale),
    )


def judged_stages(stages: list[MeasuredStage], found: SearchResult | None) -> list[MeasuredStage]:
    """The stages whose objectives count: all of a plan; of a search the answer, or the lowest level where none passed."""
    if found is None or not found.steps:
        return stages
    low = min(step.level for step in found.steps)
    level = found.answer if found.answer is not None else low
    names = {step.stage for step in found.steps if step.level == level}
    return [stage for stage in stages if stage.name in names]


def _words(search: Search, scale: int) -> str:
    low, high = search.passed, search.missed
    if low is None:
        return (
            "no level met every objective; the lowest tried was "
            + f"{min(level for level, _ in search.steps) / scale:g}"
        )
    if high is None:
        return f"every level up to {low / scale:g} met every objective: give it more steps (search.maxSteps, --max-steps) to go on"
    if high < low:
        return f"noise: {low / scale:g} met every objective and {high / scale:g} did not; make stages longer"
    held = "twice" if search.confirmed else "once"
    end = f"{low / scale:g} met every objective {held}, {high / scale:g} did not"
    if high in search.client_limited:
        return end + "; it was too much for this client: more workers, or a machine with more cores, may find more"
    return end


def stage_name(find: Find, level: int) -> str:
    """`c32`, `r12-5`: as stages are called."""
    return f"c{level}" if find == "MaxConcurrency" else "r" + _rate(level).replace(".", "-")


def _rate(level: int) -> str:
    """Every hundredth, and no zeros after the last."""
    return f"{level / RATE_STEPS:.2f}".rstrip("0").rstrip(".")
