"""Who looks at a phase while it runs: the stop rules, and what is to be read beside the load."""

from __future__ import annotations

from ..analysis.stoprules import Watch
from ..load.counters import Tick
from ..target.gauges import Reading


class Lookout:
    """Looks at a phase four times a second: the stop rules, and what is to be read."""

    def __init__(self, watch: Watch, readings: list[Reading]) -> None:
        self._watch, self._readings = watch, readings

    def reason(self, tick: Tick) -> str | None:
        """Why the phase should end now; None while it should not."""
        for reading in self._readings if not tick.load_ended else ():
            reading.look()
        return self._watch.reason(tick)

    @property
    def ends_stage_only(self) -> bool:
        """Whether the reason given ends the stage, not the run."""
        return self._watch.saturated
