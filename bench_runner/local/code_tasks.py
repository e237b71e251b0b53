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
from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.quality import CodeAnswer, CodeResult
from tokenmark_schemas.run import RunTarget
from tokenmark_schemas.workload import WorkloadSpec

from ..instrument.single import ask_once
from ..load.clock import iso_now
from ..quality.code_checks import Fixture, checked, component_of
from ..storage.text_file import write_text
from ..target.gauges import Gauge
from ..target.gpu import EVERY_S, gpus_of
from ..workload.synthetic import SyntheticText
from .matrix import CODE

USED = 0.8  # of a GPU, below which something else holds it up
BEFORE = "The following is background. It has nothing to do with the task, which comes after it.\n\n{words}\n\nNow the task.\n\n{prompt}"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """An answer as it came."""

    fixture: Fixture
    run: int
    component: str
    seconds: float
    output_tokens: int | None


def with_context(fixtures: Sequence[Fixture], tokens: Sequence[int]) -> list[Fixture]:
    """Each behind so many tokens of other text: does a model still do its task with a full window? 0 is the task alone."""
    return [fixture if not size else _behind(fixture, size) for size in tokens for fixture in fixtures]


def _behind(fixture: Fixture, tokens: int) -> Fixture:
    words = SyntheticText(7, tokens).words(0, tokens)
    return replace(
        fixture, name=f"{fixture.name} behind {tokens}", prompt=BEFORE.format(words=words, prompt=fixture.prompt)
    )


def ask(
    target: RunTarget, token: str | None, fixtures: Sequence[Fixture], runs: int, most_tokens: int, tell: Tell
) -> tuple[list[Asked], float | None]:
    """Every fixture `runs` times, at temperature 0; and the mean use of the GPUs behind the target meanwhile. Raises RunFailed where an answer does not come."""
    found = []
    with _gpus_while(target) as used:
        for run in range(runs):
            for fixture in fixtures:
                tell(f"{fixture.name}, {run + 1} of {runs}")
                found.append(_ask(target, token, fixture, run, most_tokens))
    return found, used.mean if used.count else None


def _ask(target: RunTarget, token: str | None, fixture: Fixture, run: int, most_tokens: int) -> Asked:
    workload = WorkloadSpec.model_validate({"dataset": {"prompts": [fixture.prompt]}, "max_output_tokens": most_tokens})
    single = ask_once(target, workload, token)
    if single.sample.failure is not None and single.sample.failure.kind != "empty":
        raise RunFailed(f"{fixture.name}: {single.sample.failure.message}")
    took_s = (single.sample.end_ns - (single.sample.sent_ns or single.sample.end_ns)) / 1e9
    return Asked(fixture, run, component_of(single.text), took_s, single.sample.output_tokens)


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
    """Answers that are alike are checked once."""
    known: dict[tuple[str, str], CodeAnswer] = {}
    answers = []
    for each in asked:
        key = each.fixture.name, each.component
        if key not in known:
            tell(f"checking {each.fixture.name}, {each.run + 1}")
            finding, ended = checked(each.fixture, each.component, tools)
            known[key] = CodeAnswer(
                fixture=each.fixture.name, run=each.run, score=score_of(finding), finding=finding, ended=ended
            )
        answers.append(
            known[key].model_copy(
                update={"run": each.run, "seconds": each.seconds, "output_tokens": each.output_tokens}
            )
        )
    scores = [each.score for each in answers]
    idle = (
        [f"the GPUs were used at {100 * used:.0f} % on average: something else held the model up"]
        if used is not None and used < USED
        else []
    )
    return CodeResult(
        model=model, started_at=began, ended_at=iso_now(), mean=fmean(scores), stddev=stdev(scores) if len(scores) > 1 else None,
        fixtures=by_fixture(answers, [each.component for each in asked]), answers=answers, gpu_utilization_avg=used, warnings=idle,
    )  # fmt: skip


def keep(place: Path, result: CodeResult, asked: Sequence[Asked], said: str) -> None:
    """The result and every answer. Raises InvalidInput where they cannot be written; `said` is what the person wrote."""
    for each in asked:
        write_text(place / "answers" / f"{as_name(each.fixture.name)}-{each.run}.vue", each.component, said)
    write_text(place / CODE, json.dumps(result.snake(), indent=2) + "\n", said)
