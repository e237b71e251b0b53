"""What would decide a comparison that is open (pure): for plans, so variances are taken as found and not averaged over."""

from __future__ import annotations

import math

from .two_level import Difference

MOST_REPETITIONS = 50
MOST_FACTOR = 20.0
ALARM_Z, INTERVAL_Z = 2.326, 1.960  # one side of 1 %, two sides of 5 %


def repetitions_needed(worse: float, effect: float, found: Difference) -> int | None:
    """A side, each of as many requests as now. None where it would take more than MOST_REPETITIONS."""
    now = max(len(found.baseline.values), len(found.current.values))
    for count in range(now + 1, MOST_REPETITIONS + 1):
        freedom = 2 * (count - 1)
        if _decides(worse, effect, _variance(found, count, 1.0), freedom):
            return count
    return None


def further_requests(worse: float, effect: float, found: Difference) -> float | None:
    """How many times as many requests in each repetition. None where more of them would not do, or too many."""
    count = min(len(found.baseline.values), len(found.current.values))
    if not any(found.baseline.errors) or not found.freedom:
        return None
    for tenth in range(11, int(MOST_FACTOR * 10) + 1):
        if _decides(worse, effect, _variance(found, count, tenth / 10), found.freedom):
            return tenth / 10
    return None


def _variance(found: Difference, count: int, factor: float) -> float:
    return sum((side.within / factor + found.between) / count for side in (found.baseline, found.current))


def _decides(worse: float, effect: float, variance: float, freedom: int) -> bool:
    """If the change stays what it is: an alarm that chance does not give, or an interval that leaves no room for one."""
    z = ALARM_Z if worse >= effect else INTERVAL_Z
    student = z * (1 + (z * z + 1) / (4 * freedom))  # to first order
    room = worse if worse >= effect else effect - worse
    return student * math.sqrt(variance) <= room
