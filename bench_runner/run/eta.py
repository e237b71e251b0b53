"""How long a load still takes, where its plan says so: stages with a duration. Requests to count take as long as they take."""

from __future__ import annotations

from tokenmark_schemas.run import RunConfig

from ..instrument.phase_runner import WARMUP
from ..instrument.progress import Progress


class Eta:
    """Told of every progress; stages of later repetitions come in any order, so it keeps what has begun."""

    def __init__(self, config: RunConfig) -> None:
        known = [stage.duration_seconds for stage in config.stages]
        self._plain = config.search is None and all(known)
        self._cooldown_s = config.cooldown_seconds
        self._left_s = float(sum(s or 0 for s in known) + len(known) * self._cooldown_s) * config.repetitions
        self._begun: tuple[str, int] | None = None

    def left_s(self, progress: Progress) -> float | None:
        """Seconds until the last stage ends, without its drain; None where the plan does not say."""
        if not self._plain or progress.duration_s is None:
            return None
        if progress.phase != WARMUP and progress.key != self._begun:
            self._begun = progress.key
            self._left_s -= progress.duration_s + self._cooldown_s
        return max(0.0, progress.duration_s - progress.elapsed_s) + max(0.0, self._left_s)
