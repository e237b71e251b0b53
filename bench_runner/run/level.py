"""One stage and what was measured of it, a take a repetition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tokenmark_decisions.repetitions import apart
from tokenmark_schemas.result import MeasuredStage, Rerun
from tokenmark_schemas.workload import Stage

from ..samples.aggregate import Collected
from ..target.gauges import Gauges
from ..target.host import Readings
from ..target.server_metrics import Growth


@dataclass
class Take:
    """A stage measured once. `order`: the how manieth of the run it was; the rest is the state of the engine, the GPUs and the
    machine meanwhile."""

    part: Collected
    order: int
    growth: Growth
    states: Gauges
    gpus: Gauges
    host: Gauges = field(default_factory=dict)
    host_growth: Readings = field(default_factory=dict)


@dataclass
class Level:
    stage: Stage
    takes: list[Take] = field(default_factory=list)
    floor: dict[str, float] | None = None

    @property
    def parts(self) -> list[Collected]:
        return [take.part for take in self.takes]


def rerun(level: Level, judge: Callable[[Level], MeasuredStage], measure: Callable[[Level], bool]) -> Iterator[Rerun]:
    """Takes that lie apart are measured once more, each put in the place of the old one. `measure` appends a take, or says
    that there was no time for it; a take that was cut short is let go. Whether the new one lies apart too is the reader's to see."""
    found = {each.place: each for each in apart(judge(level))}
    done = []
    for place in sorted(found):
        before = len(level.takes)
        if not measure(level):
            del level.takes[before:]
            break
        level.takes[place] = level.takes.pop()
        done.append(found[place])
    after = judge(level)
    for each in done:
        yield Rerun(
            stage=level.stage.name, repetition=each.place + 1, metric=f"{each.metric} p50", value=each.value,
            median=each.median, again=after.repetitions[each.place].metrics[each.metric].p50,
        )  # fmt: skip
