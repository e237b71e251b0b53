"""When a stage should end before its time: answers that only fail, a server that falls ever further behind (pure).

Both look at the worker's own counters, four times a second, so that they see what happens now and not what the parent
has got round to decoding.
"""

from __future__ import annotations

import math
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
HOT_READINGS = 2
PAUSE_S = 5.0  # without a throttle, and the machine has cooled down
BEHIND = 0.9  # answers to arrivals, below which a queue only grows
CHANCE = 4.0  # standard deviations of a queue at rest
RISING = 1.5  # answers per second in the second half of a stage to those in its first, while it still fills up, or more


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
class Heat:
    """Of the target's machine: give it every reading of a temperature and of the counter of throttles."""

    rules: StopRules
    _hot: int = 0
    _counted: float | None = None
    _since_s: float | None = None  # that the counter grows with every look
    _still_s: float = 0.0  # when it last grew

    def reason(self, now_s: float, celsius: float | None, throttles: float | None) -> str | None:
        """Why the run should end; None while it should not, or where nothing is told."""
        if (limit := self.rules.max_celsius) is not None and celsius is not None:
            self._hot = self._hot + 1 if celsius > limit else 0
            if self._hot >= HOT_READINGS:
                return f"the target's machine is at {celsius:.0f} °C, above stopRules.maxCelsius: {limit}"
        if (most := self.rules.max_throttled_seconds) is not None and throttles is not None:
            return self._throttled(now_s, throttles, most)
        return None

    def _throttled(self, now_s: float, throttles: float, most: int) -> str | None:
        grew, self._counted = self._counted is not None and throttles > self._counted, throttles
        if grew:
            self._since_s = now_s if self._since_s is None else self._since_s
            self._still_s = now_s
        elif now_s - self._still_s > PAUSE_S:
            self._since_s = None
        if self._since_s is None or self._still_s - self._since_s < most:
            return None
        return f"its processors have been slowed down by heat for {most} s, stopRules.maxThrottledSeconds"


@dataclass
class Watch:
    """Give it every tick of one stage; `reason` says why the stage should end, None while it should not. `saturated`
    tells that it was for the queue: that ends the stage, anything else the run."""

    rules: StopRules
    open_loop: bool
    saturated: bool = False
    _ticks: deque[Tick] = field(default_factory=deque)  # the last ten seconds
    _flow: list[Tick] = field(default_factory=list)  # since the first answer, one a second

    def reason(self, tick: Tick) -> str | None:
        if not tick.at_ns or (self._ticks and tick.at_ns <= self._ticks[-1].at_ns):
            return None
        self._ticks.append(tick)
        while len(self._ticks) > 1 and tick.at_ns - self._ticks[1].at_ns >= WINDOW_NS:
            self._ticks.popleft()
        if tick.finished and (not self._flow or tick.at_ns - self._flow[-1].at_ns >= NS):
            self._flow.append(tick)
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
        """Over ten seconds fewer than nine in ten arrivals were answered, the queue grew in each third of them, and it is
        neither chance nor a stage that still fills up."""
        first = self._ticks[0]
        if self.rules.over_saturation == "Ignore" or not first.finished or tick.at_ns - first.at_ns < WINDOW_NS:
            return None
        arrived, answered = tick.issued - first.issued, tick.finished - first.finished
        third = len(self._ticks) // 3
        queue = [self._ticks[at].in_flight for at in (0, third, 2 * third, len(self._ticks) - 1)]
        step = (1 - BEHIND) * arrived / 6  # half of what a third adds where a tenth of the arrivals is left over
        growing = all(b - a > step for a, b in pairwise(queue))
        if arrived < LEAST_ARRIVALS or answered >= BEHIND * arrived or not growing or not self._in_earnest(tick):
            return None
        return f"over-saturated: {arrived} requests were due in 10 s and {answered} were answered; {queue[-1]} wait"

    def _in_earnest(self, now: Tick) -> bool:
        """In the second half of the stage the queue grew by more than one at rest wanders, and the rate of answers rises no more.

        Arrivals at random into a server of unlimited places leave a number in flight that is Poisson distributed, whatever
        the service times (M/G/infinity): two looks at it differ by sqrt(2 * queue). Such a server answers ever more per
        second until its longest requests have gone through it once, and its queue grows as long; one that is over-saturated
        answers as many as it can from the beginning.
        """
        begun = self._flow[0]
        half = next(each for each in self._flow if 2 * (each.at_ns - begun.at_ns) >= now.at_ns - begun.at_ns)
        grown = now.in_flight - half.in_flight
        earlier, later = half.finished - begun.finished, now.finished - half.finished
        rising = RISING * (now.at_ns - half.at_ns) / max(1, half.at_ns - begun.at_ns)
        still = later + 2 * math.sqrt(later + rising**2 * earlier) <= rising * earlier  # by two standard deviations
        return still and grown > CHANCE * math.sqrt(2 * now.in_flight)
