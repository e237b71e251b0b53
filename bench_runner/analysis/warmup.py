"""Was the server warm when the measurement began? (pure)

The last half of the warm-up's answers is held against the first stage, which has the same load: where their median lies
above that stage's p90 by a quarter, times were still falling. Against p90, not the median: five answers of a steady
server whose times scatter as widely as waiting times do (exponentially) lie that high once in six hundred runs. The first
wave of a closed loop is left out: there all prompts come at once, which says nothing of what is cold.
"""

from __future__ import annotations

from ..samples.aggregate import Collected
from ..stats.summary import enough_for, percentile

LEAST = 5  # answers that say something


def unsteadiness(warmup: Collected, first: Collected) -> float | None:
    """The worse of TTFT and TPOT: median of the warm-up's last half over the first stage's p90; None where there were too
    few of either."""
    found = []
    for metric, late in (("ttft", warmup.recent.settled_ttft_s), ("tpot", warmup.recent.settled_tpot_s)):
        last = sorted(list(late)[len(late) // 2 :])
        measured = first.latencies.values[metric].ordered()
        if len(last) >= LEAST and enough_for(len(measured), 0.9) and (high := percentile(measured, 0.9)):
            found.append(percentile(last, 0.5) / high)
    return max(found, default=None)
