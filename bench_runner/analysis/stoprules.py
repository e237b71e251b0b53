"""When a stage should end before its time: answers that only fail, a server that falls ever further behind (pure).

Both look at the worker's own counters, four times a second, so that they see what happens now and not what the parent
has got round to decoding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tokenmark_schemas.result import StageResult
from tokenmark_schemas.stopping import Precise, StopRules

from ..load.clock import NS
from ..load.counters import Tick

WINDOW_NS = 10 * NS
LEAST_ARRIVALS = 20
BEHIND = 0.9  # answers to arrivals, below which a queue only grows


def precise_enough(rule: Precise | None, stages: Sequence[StageResult]) -> bool:
    """Whether every stage's interval is as narrow as asked; a withheld percentile never is."""
    if rule is None or not stages:
        return False
    for stage in stages:
        found = stage.metrics[rule.metric]
        value, interval = getattr(found, rule.statistic), getattr(found, f"ci95_{rule.statistic}")
        if not value or interval is None or (interval[1] - interval[0]) / 2 > rule.within_per_mille / 1000 * value:
            return False
    return True


@dataclass
class Watch:
    """Give it every tick of one stage; `reason` says why the stage should end, None while it should not. `saturated`
    tells that it was for the queue: that ends the stage, anything else the run."""

    rules: StopRules
    open_loop: bool
    saturated: bool = False
    _ticks: deque[Tick] = field(default_factory=deque)

    def reason(self, tick: Tick) -> str | None:
        if not tick.at_ns or (self._ticks and tick.at_ns <= self._ticks[-1].at_ns):
            return None
        self._ticks.append(tick)
        while len(self._ticks) > 1 and tick.at_ns - self._ticks[1].at_ns >= WINDOW_NS:
            self._ticks.popleft()
        if failing := self._failing(tick):
            return failing
        behind = self._behind(tick) if self.open_loop else None
        self.saturated = behind is not None
        return behind

    def _failing(self, tick: Tick) -> str | None:
        limit = self.rules.max_errors_per_mille
        if limit is None or tick.finished < self.rules.min_requests or tick.refused * 1000 <= limit * tick.finished:
            return None
        return f"{tick.refused} of {tick.finished} requests failed, above stopRules.maxErrorsPerMille: {limit}"

    def _behind(self, tick: Tick) -> str | None:
        """Over ten seconds fewer than nine in ten arrivals were answered, and the queue grew in each third of them.

        Ten seconds in which answers flowed from the beginning: a stage fills up once, by as much as its latency holds.
        And the queue has to grow by more than chance.
        """
        first = self._ticks[0]
        if self.rules.over_saturation == "Ignore" or not first.finished or tick.at_ns - first.at_ns < WINDOW_NS:
            return None
        arrived, answered = tick.issued - first.issued, tick.finished - first.finished
        third = len(self._ticks) // 3
        queue = [self._ticks[at].in_flight for at in (0, third, 2 * third, len(self._ticks) - 1)]
        step = (1 - BEHIND) * arrived / 6  # half of what a third adds where a tenth of the arrivals is left over
        growing = all(b - a > step for a, b in pairwise(queue))
        if arrived < LEAST_ARRIVALS or answered >= BEHIND * arrived or not growing:
            return None
        return f"over-saturated: {arrived} requests were due in 10 s and {answered} were answered; {queue[-1]} wait"
