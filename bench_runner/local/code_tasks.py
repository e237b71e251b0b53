"""A model is asked to refactor components, each several times, and what it wrote is checked in the sandbox, when the asking is over: compilers beside a
server would take its processors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
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
GIVE_UP, SILENT = 2, ("connect", "disconnected", "timeout")
USED = 0.8  # of a GPU, below which something else holds it up
BEFORE = "The following is background. It has nothing to do with the task, which comes after it.\n\n{words}\n\nNow the task.\n\n{prompt}"
Tell = Callable[[str], None]


def with_context(fixtures: Sequence[Fixture], tokens: Sequence[int]) -> list[Fixture]:
    """Each behind so many tokens of other text: does a model still do its task with a full window? 0 is the task alone."""
    return [fixture if not size else _behind(fixture, size) for size in tokens for fixture in fixtures]


def _behind(fixture: Fixture, tokens: int) -> Fixture:
    words = SyntheticText(7, tokens).words(0, tokens)
    return replace(
        fixture, name=f"{fixture.name}{BEHIND}{tokens}", prompt=BEFORE.format(words=words, prompt=fixture.prompt)
    )


def ask(
    target: RunTarget, token: str | None, fixtures: Sequence[Fixture], runs: int, most_tokens: int, tell: Tell, came: Callable[[WrittenCode], None]
) -> CodeAnswers:  # fmt: skip
    """Every fixture `runs` times, at temperature 0, each answer given to `came` as it comes. Raises RunFailed where the server is silent GIVE_UP times in a row, or no answer came
    at all."""
    found, began, silent = list[WrittenCode](), iso_now(), 0
    with _gpus_while(target) as used:
        for run, fixture in product(range(runs), fixtures):
            tell(f"{fixture.name}, {run + 1} of {runs}")
            written, is_silent = _ask(target, token, fixture, run, most_tokens)
            found.append(written)
            came(written)
            silent = silent + 1 if is_silent else 0
            if silent == GIVE_UP:
                raise RunFailed(f"the server was silent {GIVE_UP} times in a row: {fixture.name}: {written.failure}")
    if all(each.failure for each in found):
        raise RunFailed(f"{found[0].fixture}: {found[0].failure}")
    return CodeAnswers(
        model=target.model, started_at=began, gpu_utilization_avg=used.mean if used.count else None, answers=found
    )


def _ask(
    target: RunTarget, token: str | None, fixture: Fixture, run: int, most_tokens: int
) -> tuple[WrittenCode, bool]:
    """And whether the server was silent: what it refuses says nothing of the next answer."""
    workload = WorkloadSpec.model_validate({"dataset": {"prompts": [fixture.prompt]}, "max_output_tokens": most_tokens})
    single = ask_once(target, workload, token)
    sample = single.sample
    if sample.failure is not None and sample.failure.kind != "empty":
        failed = WrittenCode(fixture=fixture.name, run=run, component="", failure=sample.failure.message)
        return failed, sample.failure.kind in SILENT
    took_s = (sample.end_ns - (sample.sent_ns or sample.end_ns)) / NS
    component = component_of(single.text)
    return WrittenCode(
        fixture=fixture.name, run=run, component=component, seconds=took_s, output_tokens=sample.output_tokens
    ), False


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


def judge(kept: CodeAnswers, fixtures: Sequence[Fixture], tools: Path, tell: Tell) -> CodeResult:
    """Answers that are alike are checked once. Raises InvalidInput for one to a fixture that is not here, RunFailed where none could be judged."""
    tasks, known = _tasks_of(kept, fixtures), dict[tuple[str, str], CodeAnswer]()
    answers = [_judged(each, tasks[each.fixture], tools, tell, known) for each in kept.answers]
    scores = [each.score for each in answers if each.score is not None]
    if not scores:
        raise RunFailed(f"no answer could be judged: {answers[0].ended}")
    doubts = [
        f"{each.fixture}, {each.run + 1}: {each.ended}; it counts nowhere" for each in answers if each.score is None
    ]
    if (used := kept.gpu_utilization_avg) is not None and used < USED:
        doubts.append(f"the GPUs were used at {100 * used:.0f} % on average: something else held the model up")
    return CodeResult(
        model=kept.model, started_at=kept.started_at, ended_at=iso_now(), mean=fmean(scores), stddev=stdev(scores) if len(scores) > 1 else None,
        fixtures=by_fixture(answers, [each.component for each in kept.answers]), answers=answers, gpu_utilization_avg=used, warnings=doubts,
    )  # fmt: skip


def _tasks_of(kept: CodeAnswers, fixtures: Sequence[Fixture]) -> dict[str, Fixture]:
    """What each was asked, by the name that answers have for it. Raises InvalidInput."""
    known = {each.name: each for each in fixtures}
    names = {
        each.fixture: each.fixture if each.fixture in known else each.fixture.partition(BEHIND)[0]
        for each in kept.answers
    }
    if unknown := sorted(name for name, task in names.items() if task not in known):
        raise InvalidInput(f"there is no fixture {', '.join(unknown)}; there are {', '.join(known)} (--own-fixtures)")
    return {name: known[task] for name, task in names.items()}


def _judged(
    written: WrittenCode, task: Fixture, tools: Path, tell: Tell, known: dict[tuple[str, str], CodeAnswer]
) -> CodeAnswer:
    if written.failure is not None:
        return CodeAnswer(fixture=written.fixture, run=written.run, score=None, ended=written.failure)
    key = written.fixture, written.component
    if key not in known:
        tell(f"checking {written.fixture}, {written.run + 1}")
        finding, ended = checked(task, written.component, tools)
        known[key] = CodeAnswer(
            fixture=written.fixture, run=written.run, score=score_of(finding), finding=finding, ended=ended
        )
    return known[key].model_copy(
        update={"run": written.run, "seconds": written.seconds, "output_tokens": written.output_tokens}
    )


def keep_answer(place: Path, written: WrittenCode, said: str) -> None:
    """As it came. Raises InvalidInput where it cannot be written; `said` is what the person wrote."""
    if written.failure is None:
        write_text(place / "answers" / f"{as_name(written.fixture)}-{written.run}.vue", written.component, said)


def keep(place: Path, result: CodeResult, said: str) -> None:
    """Raises InvalidInput, as `keep_answer`."""
    write_text(place / CODE, json.dumps(result.snake(), indent=2) + "\n", said)
