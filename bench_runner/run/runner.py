"""One run: the plan, and the single place where what was measured becomes a result.

PhaseOrder: warm up (its own phase), then every repetition of every stage, or a search's levels. Interrupting it at any time
yields the result of what was measured so far.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from tokenmark_schemas.errors import RunFailed, TokenmarkError
from tokenmark_schemas.result import (
    EngineFacts,
    MeasuredStage,
    Phases,
    Rerun,
    RunFacts,
    RunResult,
    StageResources,
    Verdict,
)
from tokenmark_schemas.result import Phase as PhaseFacts
from tokenmark_schemas.run import RunConfig
from tokenmark_schemas.stopping import Search as SearchSpec
from tokenmark_schemas.workload import Stage

from ..analysis.network import network_facts
from ..analysis.objectives import MOST_LOST, objective_results
from ..analysis.search import Search, judged_stages, outcome_of, stage_at, start_of
from ..analysis.stage_result import stage_result
from ..analysis.stoprules import Watch, precise_enough
from ..analysis.verdict import CLIENT_RULES, judge
from ..analysis.warmup import unsteadiness
from ..instrument.phase_runner import WARMUP, Instrument, Overseer, Peers, PhaseOrder
from ..instrument.progress import Observer, Progress
from ..instrument.stop import Stop
from ..load.clock import NS, iso_at, iso_now
from ..samples.aggregate import Collected
from ..target.gauges import Reading, pooled
from ..target.gpu import EVERY_S, gpus_of, use_of
from ..target.host import growth as host_growth
from ..target.host import host_of, host_use
from ..target.http_get import Pages
from ..target.server_metrics import STATES_EVERY_S, ServerMetrics, facts_over, growth
from .level import Level, Take, rerun
from .provenance import provenance
from .watch import HeatLook, Lookout
from .way import measured_way

CUT_OFF = "had no whole answer"
NODE = "TOKENMARK_NODE"  # which node a pod is on; unset outside a cluster


class Bench(Protocol):
    """What drives a phase: this machine's instrument, or several pods that share it."""

    def measure(self, order: PhaseOrder, overseer: Overseer | None = None, peers: Peers | None = None) -> Collected: ...
    def floor(self, streams: int) -> dict[str, float] | None: ...


class Runner:
    """Runs one RunConfig. `run()` returns the result; raises RunFailed when nothing could be measured at all."""

    def __init__(
        self, config: RunConfig, observer: Observer, stop: Stop, spread: Callable[[Instrument], Bench] = lambda i: i
    ) -> None:
        """`spread` may put several machines in the place of this one's instrument."""
        self.config, self.observer, self.stop = config, observer, stop
        self.started = time.monotonic_ns()
        instrument = Instrument(config, observer, stop, self._must_stop)
        self.asks = instrument.asks
        self.bench = spread(instrument)
        self.warmup = Collected()
        self.levels = {stage.name: Level(stage) for stage in config.stages} if config.search is None else {}
        self.order = 0
        self.reruns: list[Rerun] = []
        self.search: Search | None = None
        self.unjudged = ""  # why a search could not go on
        self.pages = Pages(config.target, self.asks.token)
        self.server = ServerMetrics(config.target.engine, self.pages)
        self.engine = EngineFacts(name=config.target.engine)
        self.gpus = gpus_of(config.target)
        self.host = host_of(config.target)
        self.network = config.network
        self.floors: dict[int, dict[str, float] | None] = {}

    def run(self) -> RunResult:
        """The whole plan, or as much of it as there was time for. A database that was made for it is dropped, whatever happens."""
        try:
            self._prepare()
            result = self._planned()
        except TokenmarkError as exc:
            if left := self.asks.take_away():
                raise type(exc)(f"{exc}; and {left}") from exc
            raise
        except BaseException:
            self.asks.take_away()
            raise
        left = self.asks.take_away()
        if result.database is None or not left:
            return result
        return result.model_copy(update={"database": result.database.model_copy(update={"left": left})})

    def _prepare(self) -> None:
        if self.asks.fills:
            self.observer.progress(Progress("filling", self.config.target.engine, 1, 1, 0.0))
            self.asks.prepare(self._must_stop)

    def _planned(self) -> RunResult:
        self._know_the_way()
        self._calibrate()
        self._warm_up()
        try:
            if self.config.search is not None:
                self._search(self.config.search)
            else:
                self._repeat()
        except RunFailed as exc:
            return self._broken_off(exc)
        if self.stop.asked:
            return self.result()
        self.engine = self.asks.identity(self.pages)
        result = self.result()
        self.observer.repetition(self.config.repetitions - 1, result)
        if not self._parts(succeeded=True):
            raise RunFailed(f"no request succeeded: {self._first_message()} (target {self.config.target.url})")
        return result

    def _repeat(self) -> None:
        for repetition in range(self.config.repetitions):
            if repetition:
                self.observer.repetition(repetition - 1, self.result(partial=True))
            if repetition > 1 and self._precise():
                break
            for stage in self._ordered(repetition):
                if self._must_stop():
                    return
                self._measure(self.levels[stage.name], repetition)
        if self.config.rerun_outliers:
            for level in self.levels.values():
                self.reruns += rerun(level, self._stage_result, self._once_more)

    def _once_more(self, level: Level) -> bool:
        """Its number, as its order, is above those of the plan's repetitions. The plan is measured: one for which no time is left
        stays undone, and takes nothing from the rest."""
        longest_s = max((take.part.windows[-1].stop_ns - take.part.windows[0].start_ns) / NS for take in level.takes)
        if self.stop.asked or self._spent_s() + longest_s + self.config.cooldown_seconds > self.config.deadline_s:
            return False
        self._measure(level, self.order)
        return not self.stop.asked

    def _precise(self) -> bool:
        rule = self.config.stop_rules.when_precise
        measured = [self._stage_result(level, self.config.seed) for level in self.levels.values()] if rule else []
        return precise_enough(rule, measured)

    def _search(self, asked: SearchSpec) -> None:
        """One level after the other until the answer stands."""
        template = self.config.stages[0]
        search = self.search = Search(asked.find, start_of(asked.find, template), asked.max_steps)
        while (level := search.next_level()) is not None and not self._must_stop():
            stage = stage_at(asked.find, template, level)
            measured = self.levels.setdefault(stage.name, Level(stage, floor=self._floor(stage)))
            self._measure(measured, len(measured.parts))
            if self.stop.asked:
                return  # a level that was cut short says nothing
            result = self._stage_result(measured)
            verdict = self._verdict([result])
            met, unknown = self._level_met(result, verdict, saturated=measured.parts[-1].ended_early is not None)
            search.note(level, met, _client_limits(result, verdict))
            if unknown:
                self.unjudged = f"stage {stage.name} cannot be judged: {unknown}; make stages longer"
                return

    def _level_met(self, stage: MeasuredStage, verdict: Verdict, *, saturated: bool) -> tuple[bool, str | None]:
        """Whether a level of a search may count as met, and what keeps it from being judged. One that was ended as
        saturated, that lost requests, or that the instrument does not stand behind is none that met anything."""
        lost = stage.requests.failed + stage.requests.cancelled
        if saturated or lost > MOST_LOST * max(1, stage.requests.due) or verdict.state == "invalid":
            return False, None
        outcomes = objective_results([stage], self.config.objectives)
        if any(outcome.met == "false" for outcome in outcomes):
            return False, None
        unknown = next((outcome.reason for outcome in outcomes if outcome.met == "unknown"), None)
        return unknown is None, unknown

    def _verdict(
        self, stages: Sequence[MeasuredStage], *, interrupted: bool = False, stamps: str = "kernel"
    ) -> Verdict:
        config, dataset = self.config, self.config.workload.dataset
        shared = dataset.synthetic is not None and dataset.synthetic.shared_prefix_tokens > 0
        first = next((part for level in self.levels.values() for part in level.parts), None)
        return judge(
            stages, warmup_requests=self.warmup.outcomes.due, attempt=config.run.attempt, interrupted=interrupted,
            stamps=stamps, unsteady=unsteadiness(self.warmup, first) if first is not None else None,
            shares_prefix=shared or config.workload.conversation is not None or dataset.tests is not None,
        )  # fmt: skip

    def _ordered(self, repetition: int) -> list[Stage]:
        """The first repetition as written, later ones shuffled: what drifts must not look like the load's doing."""
        stages = list(self.config.stages)
        if repetition:
            random.Random(f"order:{self.config.seed}:{repetition}").shuffle(stages)
        return stages

    def _know_the_way(self) -> None:
        if (asked := self.config.way_to_measure) is not None and not self._must_stop():
            self.observer.progress(Progress("network", asked.host, 1, 1, 0.0))
            self.network = measured_way(asked, self.config.target.url, self.stop)

    def _calibrate(self) -> None:
        for level in self.levels.values():
            level.floor = self._floor(level.stage)

    def _floor(self, stage: Stage) -> dict[str, float] | None:
        """The floor of a level of load, once; a machine that cannot give one is no reason not to measure."""
        if not self.config.calibrate or self._must_stop():
            return None
        from ..instrument.calibrate import streams_of

        streams = streams_of(stage)
        if streams not in self.floors:
            self.observer.progress(Progress("calibration", stage.name, 1, 1, 0.0))
            try:
                self.floors[streams] = self.bench.floor(streams)
            except RunFailed:
                self.floors[streams] = None
        return self.floors[streams]

    def _broken_off(self, why: RunFailed) -> RunResult:
        """The load worker died: what earlier phases measured is a result, marked as interrupted."""
        if not self._parts(succeeded=True):
            raise why
        self.stop.ask(str(why))
        return self.result()

    def _parts(self, *, succeeded: bool = False) -> list[Collected]:
        """All that was measured; or only what holds a good answer."""
        return [
            part for level in self.levels.values() for part in level.parts if part.outcomes.succeeded or not succeeded
        ]

    def _first_message(self) -> str:
        return _first_of(self._parts())

    def _stage_result(self, level: Level, seed: int | None = None) -> MeasuredStage:
        config = self.config
        return stage_result(
            level.stage, level.parts, max_output=config.workload.most_tokens, objectives=config.objectives,
            order=[take.order for take in level.takes], seed=seed, calibration=level.floor,
            server=facts_over([take.growth for take in level.takes], [take.states for take in level.takes]),
            server_dropped=next((take.growth.dropped for take in level.takes if take.growth.dropped), None),
            resources=self._resources(level), operations=config.workload.operations or (),
        )  # fmt: skip

    def _resources(self, level: Level) -> StageResources | None:
        gpu = use_of(pooled([take.gpus for take in level.takes]), self.gpus.source) if self.gpus else None
        growths = [take.host_growth for take in level.takes]
        host = host_use(self.host, pooled([take.host for take in level.takes]), growths) if self.host else None
        return StageResources(gpu=gpu, host=host) if gpu or host else None

    def result(self, *, partial: bool = False) -> RunResult:
        """Everything measured so far as a result; `partial` says that more is to come."""
        config = self.config
        interrupted = self.stop.asked or partial
        measured = [level for level in self.levels.values() if level.parts]
        stages = [self._stage_result(level, None if partial else config.seed) for level in measured]
        found = outcome_of(self.search, stages, self.unjudged) if self.search and self.search.steps else None
        judged = judged_stages(stages, found)
        stamps = "user" if _user_stamps([self.warmup, *self._parts()]) else "kernel"
        models = sum((part.tokens.models for part in self._parts()), start=Counter[str]())
        measured_alone = RunResult(
            run=RunFacts(
                **config.run.model_dump(include={"name", "namespace", "uid", "attempt"}),
                repetitions=min((len(level.parts) for level in self.levels.values()), default=0),
                started_at=iso_at(self.started),
                ended_at=iso_now(),
                purpose=config.purpose,
                interrupted=interrupted,
                reruns=self.reruns,
            ),
            verdict=self._verdict(judged, interrupted=interrupted, stamps=stamps),
            phases=Phases(warmup=_phase_facts([self.warmup]), measured=_phase_facts(self._parts())),
            stages=stages,
            objectives=objective_results(judged, config.objectives),
            search=found,
            database=self.asks.database(),
            network=network_facts(self.network, stages, os.environ.get(NODE)),
            provenance=provenance(
                config, stamps=stamps, gpus=self.gpus,
                engine=self.engine.model_copy(update={"reported_model": models.most_common(1)[0][0] if models else None}),
            ),
        )  # fmt: skip
        return self._priced(measured_alone)

    def _priced(self, result: RunResult) -> RunResult:
        if self.config.prices is None:
            return result
        from tokenmark_decisions.cost import cost_of

        return result.model_copy(update={"cost": cost_of(result, self.config.prices)})

    # --- phases -----------------------------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        rule = self.config.warmup
        if not rule.request_count and not rule.duration_seconds:
            return
        stage = self.config.stages[0]
        if stage.trace is not None:  # its times are the measurement's; one request at a time warms up
            stage = stage.model_copy(update={"trace": None, "concurrency": 1})
        self.warmup = self.bench.measure(self._order_of(stage, WARMUP, 0))
        if not self.warmup.outcomes.succeeded and not self.stop.asked:
            message = _first_of([self.warmup])
            raise RunFailed(f"every warm-up request failed: {message} (target {self.config.target.url})")

    def _measure(self, level: Level, repetition: int) -> None:
        """One stage once, and what the engine says of it. Raises RunFailed when the worker dies."""
        stage = level.stage
        before = self.server.counters()
        watch = Watch(self.config.stop_rules, open_loop=stage.concurrency is None)
        states = Reading(self.server.states, STATES_EVERY_S)
        gpus = Reading(self.gpus.read if self.gpus else dict, EVERY_S)
        host = Reading(self.host.read if self.host else dict, self.host.every_s if self.host else EVERY_S)
        swapped = self.host.counters() if self.host else {}
        if self.host:
            self.host.read()  # what the processors did since the stage before is not this one's
        overseer = Lookout(watch, [states, gpus, host], HeatLook(self.config.stop_rules, self.host, host))
        part = self.bench.measure(self._order_of(stage, stage.name, repetition), overseer)
        grown = growth(self.config.target.engine, before, self.server.counters())
        moved = host_growth(swapped, self.host.counters()) if self.host else {}
        level.takes.append(Take(part, self.order, grown, states.gauges, gpus.gauges, host.gauges, moved))
        self.order += 1
        self._cool_down()

    def _order_of(self, stage: Stage, label: str, repetition: int) -> PhaseOrder:
        salt = self.asks.salt(self.config.run, label, repetition, self.started)
        return PhaseOrder(label, stage, repetition, salt)

    def _spent_s(self) -> float:
        return (time.monotonic_ns() - self.started) / NS

    def _must_stop(self) -> bool:
        if not self.stop.asked and self._spent_s() > self.config.deadline_s:
            self.stop.ask(f"the run's own deadline of {self.config.deadline_s} s has passed")
        return self.stop.asked

    def _cool_down(self) -> None:
        until = time.monotonic() + self.config.cooldown_seconds
        while time.monotonic() < until and not self._must_stop():
            time.sleep(0.1)


def _first_of(parts: Sequence[Collected]) -> str:
    """What the first failure said; requests that were cut off while they were served said nothing."""
    said = next((message for part in parts for message in part.outcomes.messages.values()), None)
    cancelled = sum(part.outcomes.cancelled for part in parts)
    if said is None and cancelled:
        return f"{cancelled} {CUT_OFF} when the wait for the last ones was over, and were cut off"
    return said or "nothing came back"


def _client_limits(stage: MeasuredStage, verdict: Verdict) -> bool:
    """Whether it is this client, not the target, that a level is too much for."""
    return bool(stage.requests.errors.get("client")) or any(r.code in CLIENT_RULES for r in verdict.reasons)


def _user_stamps(parts: list[Collected]) -> bool:
    """Whether answers came and the kernel stamped none of their reads."""
    ticks = [end.tick for part in parts for end in part.windows]
    return any(part.reads.count for part in parts) and not any(tick.kernel_stamps for tick in ticks)


def _phase_facts(parts: list[Collected]) -> PhaseFacts:
    errors = sum((part.outcomes.errors for part in parts), start=Counter[str]())
    duration = sum((max(p.last_end_ns, p.windows[-1].stop_ns) - p.windows[0].start_ns) for p in parts if p.windows)
    return PhaseFacts(
        requests=sum(part.outcomes.due for part in parts),
        failed=sum(part.outcomes.failed for part in parts),
        duration_s=duration / 1e9,
        errors=dict(errors),
    )
