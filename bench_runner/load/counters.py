"""How the worker is doing, on a page of memory that it shares with its parent: readable at any time, whatever waits in
the queue between them. A read while it is written may mix two states a quarter of a second apart; the final one travels
with the End.
"""

from __future__ import annotations

import mmap
from dataclasses import astuple, dataclass, fields
from struct import Struct


@dataclass(slots=True)
class Tick:
    """Counters since the start of the phase, maxima in nanoseconds. `refused`: answers with a status of 400 or above, and
    exchanges that ended in any other way than whole."""

    at_ns: int = 0
    in_flight: int = 0
    issued: int = 0
    finished: int = 0
    refused: int = 0
    cpu_ns: int = 0
    run_delay_ns: int = 0
    loop_lag_max_ns: int = 0
    away_ns: int = 0  # absences of more than five milliseconds, together
    gc_pause_max_ns: int = 0
    stamp_fallbacks: int = 0
    stale_connections: int = 0
    kernel_stamps: int = 0
    clock_steps: int = 0
    backlog_bytes: int = 0
    backlog_max_bytes: int = 0
    load_ended: int = 0  # 1 once nothing is in flight any more

    @classmethod
    def together(cls, ticks: list[Tick]) -> Tick:
        """Several workers as one: sums, but the largest of what is a maximum or a wait, and ended when all have."""
        if len(ticks) == 1:
            return ticks[0]
        names = [f.name for f in fields(cls)]
        summed = {name: sum(getattr(tick, name) for tick in ticks) for name in names}
        worst = [name for name in names if "max" in name or name in ("at_ns", "run_delay_ns", "away_ns")]
        largest = {name: max(getattr(tick, name) for tick in ticks) for name in worst}
        return cls(**{**summed, **largest, "load_ended": min(tick.load_ended for tick in ticks)})


TICK = Struct("=17q")


class CounterPage:
    """Made before the fork; the worker writes, the parent reads."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def write(self, tick: Tick) -> None:
        TICK.pack_into(self._page, 0, *astuple(tick))

    def read(self) -> Tick:
        return Tick(*TICK.unpack_from(self._page))
