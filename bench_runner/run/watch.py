"""Who looks at a phase while it runs: the stop rules, and what is to be read beside the load."""

from __future__ import annotations

import time

from tokenmark_schemas.stopping import StopRules

from ..analysis.stoprules import Heat, Watch
from ..load.counters import Tick
from ..target.gauges import Reading
from ..target.host import Host


class HeatLook:
    """Looks at the machine's heat, where a rule is about it and the machine is known."""

    def __init__(self, rules: StopRules, host: Host | None, reading: Reading) -> None:
        """`reading` is that of the machine, which somebody else looks at."""
        wanted = rules.max_celsius is not None or rules.max_throttled_seconds is not None
        self._counted = Reading(host.counters, host.every_s) if host is not None and wanted else None
        self._heat, self._reading, self._seen = Heat(rules), reading, 0

    def reason(self) -> str | None:
        if self._counted is None:
            return None
        self._counted.look()
        if (seen := self._reading.times) == self._seen:
            return None
        self._seen = seen
        celsius, throttles = self._reading.last.get("temperature_celsius"), self._counted.last.get("throttles")
        return self._heat.reason(time.monotonic(), celsius, throttles)


class Lookout:
    """Looks at a phase four times a second: the stop rules, and what is to be read."""

    def __init__(self, watch: Watch, readings: list[Reading], heat: HeatLook | None = None) -> None:
        self._watch, self._readings, self._heat = watch, readings, heat

    def reason(self, tick: Tick) -> str | None:
        """Why the phase should end now; None while it should not."""
        for reading in self._readings if not tick.load_ended else ():
            reading.look()
        return (self._heat.reason() if self._heat else None) or self._watch.reason(tick)

    @property
    def ends_stage_only(self) -> bool:
        """Whether the reason given ends the stage, not the run."""
        return self._watch.saturated
