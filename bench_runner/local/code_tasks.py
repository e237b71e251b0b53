"""A model is asked to refactor components, each several times, and what it wrote is checked in the sandbox, when the asking is over: compilers beside a
server would take its processors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from tokenmark_decisions.code_score import by_fixture, score_of
from tokenmark_decisions.sweep_cells import as_name
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.quality import CodeAnswer, CodeAnswers, CodeResult, WrittenCode
from tokenmark_schemas.run import RunTarget
from tokenmark_schemas.workload import WorkloadSpec

from ..instrument.single import ask_once
from ..load.clock import NS, iso_now
from ..quality.code_checks import Fixture, checked, component_of
from ..storage.text_file import write_text
from ..target.gauges import Gauge
from ..target.gpu import EVERY_S, gpus_of
from ..workload.synthetic import SyntheticText
from .matrix import CODE

ANSWERS = "answers.json"
BEHIND = " behind "  # fixture, this, tokens of other text before it
GIVE_UP = 2
USED = 0.8  # of a GPU, below which something else holds it up
BEFORE = "The following is background. It has nothing to do with the task, which comes after it.\n\n{words}\n\nNow the task.\n\n{prompt}"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """An answer as it came; `failure` says why none did."""

    fixture: Fixture
    run: int
    component: str
    seconds: float | None
    output_tokens: int | None
    failure: str | None = None


def with_context(fixtures: Sequence[Fixture], tokens: Sequence[int]) -> list[Fixture]:
    """Each behind so many tokens of other text: does a model still do its task with a full window? 0 is the task alone."""
    return [fixture if not size else _behind(fixture, size) for size in tokens for fixture in fixtures]


def _behind(fixture: Fixture, tokens: int) -> Fixture:
    words = SyntheticText(7, tokens).words(0, tokens)
    return replace(
        fixture, name=f"{fixture.name}{BEHIND}{tokens}", prompt=BEFORE.format(words=words, prompt=fixture.prompt)
    )


def ask(
    target: RunTarget, token: str | None, fixtures: Sequence[Fixture], runs: int, most_tokens: int, tell: Tell, came: Callable[[Asked], None]
) -> tuple[list[Asked], float | None]:  # fmt: skip
    """Every fixture `runs` times, at temperature 0, each given to `came` as it comes; and the mean use of the GPUs behind the target meanwhile. Raises
    RunFailed where GIVE_UP in a row do not come, or none at all."""
    found = []
    with _gpus_while(target) as used:
        for run in range(runs):
            for fixture in fixtures:
                tell(f"{fixture.name}, {run + 1} of {runs}")
                found.append(_ask(target, token, fixture, run, most_tokens))
                came(found[-1])
                if len(found) >= GIVE_UP and all(each.failure for each in found[-GIVE_UP:]):
                    raise RunFailed(
                        f"{GIVE_UP} answers in a row did not come: {found[-1].fixture.name}: {found[-1].failure}"
                    )
    if all(each.failure for each in found):
        raise RunFailed(f"{found[0].fixture.name}: {found[0].failure}")
    return found, used.mean if used.count else None


def _ask(target: RunTarget, token: str | None, fixture: Fixture, run: int, most_tokens: int) -> Asked:
    workload = WorkloadSpec.model_validate({"dataset": {"prompts": [fixture.prompt]}, "max_output_tokens": most_tokens})
    single = ask_once(target, workload, token)
    sample = single.sample
    if sample.failure is not None and sample.failure.kind != "empty":
        return Asked(fixture, run, "", None, None, sample.failure.message)
    took_s = (sample.end_ns - (sample.sent_ns or sample.end_ns)) / NS
    return Asked(fixture, run, component_of(single.text), took_s, sample.output_tokens)


@contextmanager
def _gpus_while(target: RunTarget) -> Iterator[Gauge]:
    """Utilisation of the target's GPUs, twice a second, where somebody tells it."""
    gauge, over = Gauge(), threading.Event()
    if (gpus := gpus_of(target)) is None:
        yield gauge
        return

    def look() -> None:
        while not over.wait(EVERY_S):
            if (use := (gpus.read() or {}).get("utilization")) is not None:
                gauge.add(use)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield gauge
    finally:
        over.set()
        looking.join()


def judge(model: str, began: str, asked: Sequence[Asked], used: float | None, tools: Path, tell: Tell) -> CodeResult:
    """Answers that are alike are checked once. Raises RunFailed where none could be."""
    known: dict[tuple[str, str], CodeAnswer] = {}
    answers = [_judged(each, tools, tell, known) for each in asked]
    scores = [each.score for each in answers if each.score is not None]
    if not scores:
        raise RunFailed(f"no answer could be judged: {answers[0].ended}")
    doubts = [
        f"{each.fixture}, {each.run + 1}: {each.ended}; it counts nowhere" for each in answers if each.score is None
    ]
    if used is not None and used < USED:
        doubts.append(f"the GPUs were used at {100 * used:.0f} % on average: something else held the model up")
    return CodeResult(
        model=model, started_at=began, ended_at=iso_now(), mean=fmean(scores), stddev=stdev(scores) if len(scores) > 1 else None,
        fixtures=by_fixture(answers, [each.component for each in asked]), answers=answers, gpu_utilization_avg=used, warnings=doubts,
    )  # fmt: skip


def _judged(asked: Asked, tools: Path, tell: Tell, known: dict[tuple[str, str], CodeAnswer]) -> CodeAnswer:
    if asked.failure is not None:
        return CodeAnswer(fixture=asked.fixture.name, run=asked.run, score=None, ended=asked.failure)
    key = asked.fixture.name, asked.component
    if key not in known:
        tell(f"checking {asked.fixture.name}, {asked.run + 1}")
        finding, ended = checked(asked.fixture, asked.component, tools)
        known[key] = CodeAnswer(
            fixture=asked.fixture.name, run=asked.run, score=score_of(finding), finding=finding, ended=ended
        )
    return known[key].model_copy(
        update={"run": asked.run, "seconds": asked.seconds, "output_tokens": asked.output_tokens}
    )


def written(model: str, began: str, asked: Sequence[Asked], used: float | None) -> CodeAnswers:
    """As it is kept, to be judged now or elsewhere."""
    answers = [
        WrittenCode(
            fixture=each.fixture.name, run=each.run, component=each.component, seconds=each.seconds, output_tokens=each.output_tokens,
            failure=each.failure,
        )
        for each in asked
    ]  # fmt: skip
    return CodeAnswers(model=model, started_at=began, gpu_utilization_avg=used, answers=answers)


def asked_of(kept: CodeAnswers, fixtures: Sequence[Fixture]) -> list[Asked]:
    """Raises InvalidInput for an answer to a fixture that is not here."""
    known = {each.name: each for each in fixtures}
    if unknown := sorted({each.fixture for each in kept.answers if each.fixture.partition(BEHIND)[0] not in known}):
        raise InvalidInput(f"there is no fixture {', '.join(unknown)}; there are {', '.join(known)} (--own-fixtures)")
    return [
        Asked(
            replace(known[each.fixture.partition(BEHIND)[0]], name=each.fixture), each.run, each.component, each.seconds,
            each.output_tokens, each.failure,
        )
        for each in kept.answers
    ]  # fmt: skip


def keep_answer(place: Path, asked: Asked, said: str) -> None:
    """As it came. Raises InvalidInput where it cannot be written; `said` is what the person wrote."""
    if asked.failure is None:
        write_text(place / "answers" / f"{as_name(asked.fixture.name)}-{asked.run}.vue", asked.component, said)


def keep(place: Path, result: CodeResult, said: str) -> None:
    """Raises InvalidInput, as `keep_answer`."""
    write_text(place / CODE, json.dumps(result.snake(), indent=2) + "\n", said)
