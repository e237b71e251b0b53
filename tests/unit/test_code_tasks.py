"""A model is asked for code: what is worth asking on for, and what is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench_runner.local import code_tasks
from bench_runner.quality.code_checks import fixtures
from bench_runner.samples.sample import Failure
from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.quality import CodeAnswers
from tokenmark_schemas.run import RunTarget

GOOD = "```vue\n<template><p>hello</p></template>\n```"


def asked(monkeypatch: pytest.MonkeyPatch, *kinds: str | None) -> CodeAnswers:
    """Of answers in turn: what failed, by its kind, and None for a component."""
    left = list(kinds)

    def ask_once(*_args: object) -> SimpleNamespace:
        kind = left.pop(0)
        failure = Failure(kind, f"it was {kind}") if kind else None
        return SimpleNamespace(text=GOOD, sample=SimpleNamespace(failure=failure, end_ns=2, sent_ns=1, output_tokens=3))

    monkeypatch.setattr(code_tasks, "ask_once", ask_once)
    tasks = list(fixtures())
    target = RunTarget(engine="openai", model="m", url="http://x")
    return code_tasks.ask(target, None, tasks, len(kinds) // len(tasks), 16, lambda _said: None, lambda _each: None)


def test_what_a_server_refuses_says_nothing_of_the_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, "rejected", "rejected", "rejected", None, "truncated", "server_error")
    assert [each.failure is None for each in found.answers] == [False, False, False, True, False, False]
    assert found.answers[3].component == "<template><p>hello</p></template>"


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([None, "timeout", "connect", None, None, None], "the server was silent 2 times in a row"),
        (["rejected"] * 3, "it was rejected"),
    ],
)
def test_a_server_that_is_silent_is_asked_no_more_and_no_answer_at_all_is_none(
    monkeypatch: pytest.MonkeyPatch, kinds: list[str | None], said: str
) -> None:
    with pytest.raises(RunFailed, match=said):
        asked(monkeypatch, *kinds)


def test_silence_that_an_answer_breaks_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(asked(monkeypatch, "timeout", None, "timeout").answers) == 3
