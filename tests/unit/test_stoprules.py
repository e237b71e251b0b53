"""When a stage ends before its time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from functools import partial

import pytest

from bench_runner.analysis.stoprules import Heat, Watch, precise_enough
from bench_runner.load.counters import Tick
from tests.support.results import a_stage
from tokenmark_schemas.stopping import Precise, StopRules

S = 1_000_000_000


def reasons(rules: StopRules, ticks: list[Tick], *, open_loop: bool = True) -> list[str]:
    watch = Watch(rules, open_loop=open_loop)
    return [why for tick in ticks if (why := watch.reason(tick))]


def load(seconds: int, arrivals: int, answers: int, refused: int = 0) -> list[Tick]:
    """Four ticks a second at these rates a second."""
    quarters = range(1, 4 * seconds + 1)
    return [
        Tick(at_ns=q * S // 4, issued=arrivals * q // 4, finished=answers * q // 4, refused=refused * q // 4,
             in_flight=(arrivals - answers) * q // 4)
        for q in quarters
    ]  # fmt: skip


def test_too_many_failures_end_it_once_there_are_enough_answers() -> None:
    rules = StopRules(max_errors_per_mille=100)
    assert reasons(rules, load(2, 20, 20, refused=5)) == []  # only 40 answers
    found = reasons(rules, load(10, 20, 20, refused=5))
    assert found[0] == "12 of 50 requests failed, above stopRules.maxErrorsPerMille: 100"
    assert reasons(rules, load(60, 20, 20, refused=2)) == []  # exactly the limit
    assert reasons(StopRules(), load(60, 20, 20, refused=20)) == []


def test_a_queue_that_only_grows_is_over_saturation() -> None:
    rules = StopRules(over_saturation="EndStage")
    found = reasons(rules, load(30, 20, 10))
    assert found[0].startswith("over-saturated: 200 requests were due in 10 s and 100 were answered")
    assert reasons(StopRules(), load(30, 20, 10)) == []


def test_a_server_that_keeps_up_and_a_closed_loop_never_are() -> None:
    rules = StopRules(over_saturation="EndStage")
    assert reasons(rules, load(60, 20, 20)) == []
    assert reasons(rules, load(60, 20, 19)) == []
    assert reasons(rules, load(60, 20, 10), open_loop=False) == []


def test_a_burst_that_is_worked_off_is_none() -> None:
    rules = StopRules(over_saturation="EndStage")
    ticks = [Tick(at_ns=q * S // 4, issued=200 + 5 * q, finished=10 * q, in_flight=200 - 5 * q) for q in range(1, 40)]
    assert reasons(rules, ticks) == []


def test_a_server_that_is_slow_to_begin_and_keeps_up_is_none() -> None:
    """Ten requests a second, three seconds each: thirty wait, more or less."""
    rules = StopRules(over_saturation="EndStage")
    ticks = [
        Tick(at_ns=q * S // 4, issued=10 * q // 4, finished=max(0, 10 * (q - 12) // 4), in_flight=min(10 * q // 4, 30 + q // 9))
        for q in range(1, 100)
    ]  # fmt: skip
    assert reasons(rules, ticks) == []


# --- how often it is right ------------------------------------------------------------------------------------------

Service = Callable[[random.Random], float]  # -> seconds that a request takes once it is served
SERVICES: dict[str, tuple[Service, float]] = {  # and their mean
    "all alike": (lambda rng: 2.5, 2.5),
    "exponential": (lambda rng: rng.expovariate(1 / 2.5), 2.5),
    "answers of 2 to 20 s": (lambda rng: rng.uniform(2, 20), 11.0),
    "exponential, long": (lambda rng: rng.expovariate(1 / 20), 20.0),
}
STAGE_S = 120


def stage_of(rng: random.Random, rate: float, service: Service, places: int | None) -> list[Tick]:
    """Poisson arrivals into a server of so many places, None: of as many as it takes."""
    at, arrivals, ends, free = 0.0, list[float](), list[float](), [0.0] * (places or 0)
    while at < STAGE_S:
        at += rng.expovariate(rate)
        begun = at if places is None else max(at, heapq.heappop(free))
        ends.append(begun + service(rng))
        arrivals.append(at)
        if places is not None:
            heapq.heappush(free, ends[-1])
    ends.sort()
    ticks, came, went = list[Tick](), 0, 0
    for quarter in range(1, 4 * STAGE_S + 1):
        while came < len(arrivals) and arrivals[came] <= quarter / 4:
            came += 1
        while went < len(ends) and ends[went] <= quarter / 4:
            went += 1
        ticks.append(Tick(at_ns=quarter * S // 4, issued=came, finished=went, in_flight=came - went))
    return ticks


def ended(rate: float, service: Service, places: int | None, trials: int) -> int:
    """Stages of so many that the rule ends."""
    rule = StopRules(over_saturation="EndStage")
    return sum(bool(reasons(rule, stage_of(random.Random(seed), rate, service, places))) for seed in range(trials))


@pytest.mark.parametrize("name", SERVICES)
def test_a_server_that_keeps_up_is_hardly_ever_taken_for_one_that_does_not(name: str) -> None:
    """From 12 to 2,000 requests in flight, the time in which a stage fills up among them."""
    service, _ = SERVICES[name]
    assert sum(map(partial(ended, service=service, places=None, trials=50), (5, 12, 50))) <= 1


@pytest.mark.parametrize("name", ["all alike", "exponential", "answers of 2 to 20 s"])
@pytest.mark.parametrize("over", [1.5, 3])
def test_a_server_that_falls_behind_is_found(name: str, over: float) -> None:
    service, mean = SERVICES[name]
    assert sum(ended(rate, service, round(rate * mean / over), 20) for rate in (12, 50)) >= 38


@pytest.mark.parametrize(("interval", "enough"), [((0.095, 0.105), True), ((0.09, 0.12), False), (None, False)])
def test_enough_is_known_when_every_interval_is_narrow(interval: tuple[float, float] | None, enough: bool) -> None:
    stage = a_stage()
    ttft = stage.metrics["ttft"].model_copy(update={"p50": 0.1, "ci95_p50": interval})
    narrow = stage.model_copy(update={"metrics": {**stage.metrics, "ttft": ttft}})
    rule = Precise(metric="ttft", statistic="p50", within_per_mille=50)
    assert precise_enough(rule, [narrow]) is enough
    assert not precise_enough(None, [narrow])
    assert not precise_enough(rule, [narrow, stage]), "the other stage has no interval yet"


def test_a_hot_machine_ends_the_run_at_the_second_reading_in_a_row() -> None:
    heat = Heat(StopRules(max_celsius=90))
    told = [heat.reason(at, celsius, None) for at, celsius in enumerate((80, 91, 89, 91, None, 95))]
    assert told[:5] == [None] * 5
    assert told[5] == "the target's machine is at 95 °C, above stopRules.maxCelsius: 90"


def test_throttling_that_lasts_ends_the_run_and_a_pause_begins_it_anew() -> None:
    heat = Heat(StopRules(max_throttled_seconds=10))
    counted, told = 0.0, []
    for second in range(40):
        counted += second in range(1, 9) or second >= 20  # eight seconds, a pause of eleven, and then without end
        told.append(heat.reason(float(second), None, counted))
    assert told.index(next(filter(None, told))) == 30
    assert "slowed down by heat for 10 s" in told[30]


def test_a_machine_that_tells_nothing_is_never_too_hot() -> None:
    heat = Heat(StopRules(max_celsius=90, max_throttled_seconds=1))
    assert [heat.reason(float(at), None, None) for at in range(5)] == [None] * 5
