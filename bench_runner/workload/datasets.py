"""Data sets that bring their own prompts: literal texts, or JSON lines of prompts, traces and conversations."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import ValidationError

from tokenmark_schemas.documents import read_tests
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.problems import problems_of
from tokenmark_schemas.quality import MOST_TESTS, QualityTest
from tokenmark_schemas.workload import Dataset

from ..engines.base import Prompt

Tokens = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Said(msgspec.Struct):
    """One utterance, in the shape of the ShareGPT data sets."""

    value: str
    speaker: str = msgspec.field(name="from")


class _Line(msgspec.Struct):
    """One line of a data set. `timestamp` in milliseconds, `input_length` and `output_length` in tokens: the fields of
    published request traces. `turns` is what a user says one after the other, `conversations` the same with answers. A line with
    `expect` is a test: its answer is judged (`test`, else its number, and `kind` are what it is told by)."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_output_tokens: Tokens | None = None
    timestamp: Annotated[float, msgspec.Meta(ge=0)] | None = None
    input_length: Tokens | None = None
    output_length: Tokens | None = None
    turns: list[str] | None = None
    conversations: list[_Said] | None = None
    test: str | None = None
    kind: str | None = None
    expect: dict[str, Any] | None = None

    def said(self) -> tuple[list[str], list[str]]:
        """What the user said, and what was said back."""
        if self.turns is not None:
            return self.turns, []
        users: list[str] = []
        answers: list[str] = []
        for one in self.conversations or []:
            if one.speaker in ("human", "user") and len(users) == len(answers):
                users.append(one.value)
            elif one.speaker in ("human", "user"):
                users[-1] += "\n\n" + one.value  # said in two pieces
            elif one.speaker in ("gpt", "assistant") and len(answers) < len(users):
                answers.append(one.value)
        return users, answers


_LINE = msgspec.json.Decoder(_Line)


def read_json_lines(text: str, source: str) -> list[Prompt]:
    """JSON lines -> prompts, in the order of their times where they have any. Raises InvalidInput naming the line."""
    prompts = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = _LINE.decode(line)
        except msgspec.DecodeError as exc:
            raise InvalidInput(f"{source}:{number}: {str(exc)[:200].replace(' | null', '')}") from exc
        turns, answers = row.said()
        if not row.prompt and not row.messages and row.input_length is None and not turns:
            raise InvalidInput(f"{source}:{number}: neither prompt, messages, turns nor input_length is set")
        prompts.append(
            Prompt(
                row.prompt or "", tuple(row.messages) if row.messages else None,
                row.max_output_tokens or row.output_length, row.input_length, row.timestamp, tuple(turns), tuple(answers),
                _test(row, number, source),
            )
        )  # fmt: skip
    if not prompts:
        raise InvalidInput(f"{source} holds no prompts")
    _refuse_twins([prompt.test for prompt in prompts if prompt.test is not None], source)
    return sorted(prompts, key=lambda prompt: prompt.at_ms or 0.0)


def _test(row: _Line, number: int, source: str) -> QualityTest | None:
    """Raises InvalidInput where it is none that can be judged."""
    if row.expect is None:
        return None
    said = {
        "test": row.test or f"line-{number}",
        "kind": row.kind or "own",
        "prompt": row.prompt or "",
        "expect": row.expect,
    }
    try:
        return QualityTest.model_validate(said)
    except ValidationError as exc:
        raise InvalidInput(f"{source}:{number}: {'; '.join(map(str, problems_of(exc, QualityTest)))}") from exc


def _refuse_twins(tests: Sequence[QualityTest], source: str) -> None:
    """Answers are counted by the test's name."""
    names = Counter(test.test for test in tests)
    if twice := next((name for name, times in names.items() if times > 1), None):
        raise InvalidInput(f"{source}: two tests are called {twice}")
    if len(names) > MOST_TESTS:
        raise InvalidInput(f"{source} holds {len(names)} tests; {MOST_TESTS} are the most")


def literal_prompts(dataset: Dataset, dataset_file: str | None) -> Sequence[Prompt] | None:
    """The prompts of a data set that brings its own; None for synthetic text. Raises InvalidInput on a bad file."""
    if dataset.prompts is not None:
        return [Prompt(text) for text in dataset.prompts]
    if dataset.tests is not None:
        return [Prompt(each.prompt, test=each) for each in read_tests(dataset.tests.name, dataset.tests.version).tests]
    if dataset.synthetic is not None:
        return None
    if dataset_file is None:
        if dataset.jsonl is None or not dataset.jsonl.uri.startswith("file://"):
            raise InvalidInput("the data set is neither a local file nor mounted beside the run; give it as file://")
        dataset_file = dataset.jsonl.uri.removeprefix("file://")
    try:
        content = Path(dataset_file).read_bytes()
    except OSError as exc:
        raise InvalidInput(f"the data set {dataset_file} cannot be read: {exc.strerror}") from exc
    if dataset.jsonl is not None and hashlib.sha256(content).hexdigest() != dataset.jsonl.sha256:
        raise InvalidInput(f"the data set {dataset_file} does not have the sha256 that the workload names")
    return read_json_lines(content.decode("utf-8", "replace"), dataset_file)
