"""`comparison/v1`: what of a run is better, worse, the same or not known against a baseline, line by line.

Values are what the repetitions say together (their geometric mean; of shares the mean), so that value, change and interval
are of one kind; the percentile of all samples pooled stands in the runs' own results.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Contract

Status = Literal["OK", "IMPROVED", "REGRESSED", "INCONCLUSIVE"]


class ComparedRun(Contract):
    name: str
    namespace: str
    source: str = Field(description="Where it was read from, as it was named.")
    started_at: str | None
    provider: str | None
    verdict: str
    repetitions: int
    fingerprint: str


class ComparisonLine(Contract):
    """`change` is current / baseline - 1; of shares (unit `ratio`) current - baseline, as `delta`. `low` and `high` are its 95 % interval.

    `p_worse` is the probability that the change is not for the worse at all, adjusted for the number of lines that are judged together;
    `p_better` the same for the better. `repetitions_needed` (a side) and `requests_factor` (in each repetition) say what
    would decide an INCONCLUSIVE line if the change stays what it is; null where that is not known, or more than is sensible.
    """

    stage: str
    metric: str
    statistic: str | None
    unit: str
    better: Literal["lower", "higher"]
    baseline: float | None
    current: float | None
    delta: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_worse: float | None = None
    p_better: float | None = None
    minimum_effect: float
    gate: bool
    status: Status
    reason: str | None = None
    repetitions_needed: int | None = None
    requests_factor: float | None = None

    @property
    def name(self) -> str:
        """As gates are named: `ttft:p99`, `success_rate`."""
        return f"{self.metric}:{self.statistic}" if self.statistic else self.metric

    @property
    def matters(self) -> bool:
        """A gate, what moved, or of the rest p50 and p99: what a table and a status that stay short hold."""
        return self.gate or self.status in ("REGRESSED", "IMPROVED") or self.statistic in (None, "p50", "p99")


class Comparison(Contract):
    """`result` is of the gates alone: `not_judged` where none is named. `reservations` hold why the two should not have
    been compared, where it was asked for all the same; `notes`, what a reader should know."""

    schema_version: Literal["comparison/v1"] = "comparison/v1"
    baseline: ComparedRun
    current: ComparedRun
    result: Literal["passed", "regressed", "inconclusive", "not_judged"]
    false_alarm_limit: float = Field(description="Of all gates together, at most.")
    reservations: list[str] = []
    notes: list[str] = []
    lines: list[ComparisonLine]
