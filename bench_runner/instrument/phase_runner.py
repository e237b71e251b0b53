"""The instrument: one phase of load driven on this machine, from an order to what was measured.

It knows nothing of plans. A run tells it what to drive, one phase after the other; where several pods share a load, each
has an instrument and gets the same order with another shard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tokenmark_schemas.run import RunConfig
from tokenmark_schemas.run_length import stage_drain_s, warmup_drain_s
from tokenmark_schemas.workload import Stage

from ..analysis.objectives import latency_limits
from ..load.clock import NS
from ..load.counters import Tick
from ..load.drive import Drive
from ..load.frames import End, Exchange
from ..load.phase import Limits, Phase, stage_phase, warmup_phase
from ..samples.aggregate import Collected
from .asks import Part, asks_of
from .progress import Observer, Progress, Quantiles
from .stop import Stop

WARMUP, WARMUP_GIVE_UP = "warmup", 3
LOOK_NS = 240_000_000


@dataclass(frozen=True)
class PhaseOrder:
    """One phase. All workers of a shard begin at `begin_ns`, at once if that has passed; stamps are `ahead_ns` ahead of
    those of whoever puts the result together, and are given back on that clock."""

    label: str  # the stage's name, or WARMUP
    stage: Stage
    repetition: int
    salt: str
    shard: tuple[int, int] = (0, 1)
    begin_ns: int = 0
    ahead_ns: int = 0


class Overseer(Protocol):
    """Who looks at a phase while it runs, and may end it."""

    def reason(self, tick: Tick) -> str | None:
        """Why it should end now; None while it should not."""

    @property
    def ends_stage_only(self) -> bool:
        """Whether that reason ends the stage, not the run."""


class Peers(Protocol):
    """The others who drive the same phase at the same time."""

    def pulse(self, tick: Tick) -> Sequence[Tick]:
        """Called four times a second with this machine's state; returns the others', on this machine's clock."""

    @property
    def waiting(self) -> bool:
        """Whether this machine, done with its own share, has to wait for them; `pulse` takes its time then."""

    def stop(self) -> None:
        """Tells them to end the phase now."""


class NoPeers:
    """No peers: one machine drives everything."""

    waiting = False

    def pulse(self, tick: Tick) -> Sequence[Tick]:
        return ()

    def stop(self) -> None:
        """NoPeers to tell."""


class Instrument:
    """Drives phases. `must_stop` is asked all the time and ends whatever runs."""

    def __init__(self, config: RunConfig, observer: Observer, stop: Stop, must_stop: Callable[[], bool]) -> None:
        self.config, self.observer, self.stop, self.must_stop = config, observer, stop, must_stop
        self.asks = asks_of(config, lambda: stop.asked)

    def measure(self, order: PhaseOrder, overseer: Overseer | None = None, peers: Peers | None = None) -> Collected:
        """One phase: fork, decode what comes, watch the time, and wait for peers. Raises RunFailed when a worker dies."""
        peers = peers or NoPeers()
        out = Collected(limits=latency_limits(self.config.objectives), lanes=order.stage.concurrency or 0)
        drive = Drive(self._phase(order), self.config.workers)
        self.stop.hooks = [drive.stop]
        began = looked = time.monotonic_ns()
        for event in drive.events():
            if isinstance(event, Exchange):
                self._take(event, out, order)
            elif isinstance(event, End):
                out.windows.append(event.moved(-order.ahead_ns))
            if event is None and (now := time.monotonic_ns()) - looked > LOOK_NS:
                looked = now
                self._look(order, out, [drive.tick, *peers.pulse(drive.tick)], overseer, began)
            if out.ended_early or self.must_stop() or _hopeless(order, out, drive):
                drive.stop()
                peers.stop()
        self.stop.hooks = []
        last = replace(drive.tick, in_flight=0, load_ended=1)
        while peers.waiting:
            others = peers.pulse(last)
            last = replace(last, at_ns=time.monotonic_ns())
            self._look(order, out, [last, *others], overseer, began)
            if out.ended_early or self.must_stop():
                peers.stop()
        return out

    def _look(
        self, order: PhaseOrder, out: Collected, ticks: Sequence[Tick], overseer: Overseer | None, began: int
    ) -> None:
        """Four times a second: what there is to tell, and whether it should end."""
        self._report(order, out, ticks, began)
        if overseer is not None:
            self._judge(overseer, Tick.together(list(ticks)), out)

    def floor(self, streams: int) -> dict[str, float] | None:
        """What this machine adds to a number that is known, at so many streams."""
        from .calibrate import calibrate

        return calibrate(self.config, streams, lambda: self.stop.asked)

    def request_id(self, label: str, repetition: int) -> str:
        return f"{self.config.run.name}-a{self.config.run.attempt}-{label}-r{repetition}"

    def _phase(self, order: PhaseOrder) -> Phase:
        config, target, streaming = self.config, self.config.target, self.config.workload.streaming
        name, stage, longest_s = order.label, order.stage, target.request_timeout_s
        drain_s = warmup_drain_s(config.warmup, longest_s) if name == WARMUP else stage_drain_s(stage, longest_s)
        common: dict[str, object] = {
            **self.asks.fields(self._part(order)),
            "seed": config.seed,
            "limits": Limits(
                request_ns=longest_s * NS,
                first_token_ns=(target.first_token_timeout_s if streaming else longest_s) * NS,
                idle_ns=(target.idle_timeout_s if streaming else longest_s) * NS,
                drain_ns=drain_s * NS,
            ),
        }
        if name == WARMUP:
            phase = warmup_phase(stage, config.warmup.request_count, config.warmup.duration_seconds, **common)
        else:
            if stage.trace is not None:
                common["offsets"] = self.asks.trace_offsets(float(stage.trace.speedup))
            phase = stage_phase(stage, **common)
        return replace(phase, shard=order.shard, begin_ns=order.begin_ns)

    def _part(self, order: PhaseOrder) -> Part:
        return Part(order.label, order.repetition, order.salt, self.request_id(order.label, order.repetition))

    def _take(self, event: Exchange, out: Collected, order: PhaseOrder) -> None:
        sample = self.asks.sample(event, self._part(order))
        if order.ahead_ns:
            sample.move(-order.ahead_ns)
        out.add(sample)
        self.observer.sample(sample)

    def _judge(self, overseer: Overseer, tick: Tick, out: Collected) -> None:
        """A stop rule ends the stage, or the run."""
        if out.ended_early is None and (why := overseer.reason(tick)):
            out.ended_early = why
            if not overseer.ends_stage_only:
                self.stop.ask(why)

    def _report(self, order: PhaseOrder, out: Collected, ticks: Sequence[Tick], began: int) -> None:
        now, together, others = time.monotonic_ns(), Tick.together(list(ticks)), ticks[1:]
        elapsed_s, warms_up = (now - began) / NS, order.label == WARMUP
        self.observer.progress(
            Progress(
                order.label, order.stage.name, order.repetition + 1, self.config.repetitions, elapsed_s,
                duration_s=None if warms_up else order.stage.duration_seconds,
                count=None if warms_up else order.stage.request_count,
                in_flight=together.in_flight,
                done=out.outcomes.succeeded + sum(tick.finished - tick.refused for tick in others),
                failed=out.outcomes.failed + sum(tick.refused for tick in others),
                ttft=Quantiles.of(out.recent.ttft_s),
                tpot=Quantiles.of(out.recent.tpot_s),
                calls=Quantiles.of(out.recent.call_s) if out.recent.call_s else None,
                send_lag_p99_s=Quantiles.of(out.recent.send_lag_s).p99,
                read_lag_p99_s=Quantiles.of(out.recent.read_lag_s).p99,
                away_s=together.loop_lag_max_ns / NS,
                away_share=together.away_ns / max(NS, now - began),
                cores=together.cpu_ns / (now - began),
                workers=len(ticks) * self.config.workers,
                tokens_per_s=out.tokens.output / elapsed_s if elapsed_s > 0.5 else None,
            )
        )  # fmt: skip


def _hopeless(order: PhaseOrder, out: Collected, drive: Drive) -> bool:
    """A warm-up in which nothing works need not go on; errors come back sooner than answers, so those are waited for."""
    tried = order.label == WARMUP and not out.outcomes.succeeded and out.outcomes.failed >= WARMUP_GIVE_UP
    return tried and out.outcomes.failed > 2 * drive.tick.in_flight
