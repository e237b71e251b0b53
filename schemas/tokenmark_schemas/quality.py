"""Questions whose answers a program can judge (`quality-tests/v1`), and what a model made of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .base import Contract, Label, Text253, Text1024

MOST_TESTS = 1000  # of a file, and of a run; each stands by itself in its result
MOST_ANSWER = 200  # characters of an answer that a result keeps


class Expect(Contract):
    """What makes an answer right; exactly one. Thinking in `<think>` and a code fence around the whole are no part of an answer.

    `number`: the last number of the answer. `choice`: the letter that the answer begins with, or names as its answer. `words`: one of them, and no
    more than a short sentence around it. `json`: the same value. `pattern`: the whole answer, without the white space around it.
    """

    number: Annotated[str, Field(pattern=r"^-?\d{1,15}(\.\d{1,9})?$")] | None = None
    choice: Annotated[str, Field(pattern=r"^[A-J]$")] | None = None
    words: Annotated[list[Text253], Field(min_length=1, max_length=16)] | None = None
    json_value: dict[str, Any] | list[Any] | None = Field(default=None, alias="json")
    pattern: Text1024 | None = None

    @model_validator(mode="after")
    def _one(self) -> Expect:
        if [self.number, self.choice, self.words, self.json_value, self.pattern].count(None) != 4:
            raise ValueError("set exactly one of number, choice, words, json, pattern")
        if any(not re.search(r"\w", word) for word in self.words or []):
            raise ValueError("words: each needs a letter or a digit")
        try:
            re.compile(self.pattern or "")
        except re.error as exc:
            raise ValueError(f"pattern: {exc}") from None
        return self


class QualityTest(Contract):
    """`kind` is what its answers are counted under."""

    test: Label
    kind: Label
    prompt: Annotated[str, Field(min_length=1, max_length=16_384)]
    expect: Expect


class QualityTests(Contract):
    """A file of them. A version is never changed once it is published: answers of two models are compared test by test."""

    schema_version: Literal["quality-tests/v1"] = "quality-tests/v1"
    name: Label
    version: Annotated[int, Field(ge=1)]
    about: Text1024
    tests: Annotated[list[QualityTest], Field(min_length=1, max_length=MOST_TESTS)]

    @model_validator(mode="after")
    def _named_once(self) -> QualityTests:
        names = [each.test for each in self.tests]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tests: {', '.join(twice)} stands twice")
        return self


class BuiltInTests(Contract):
    """Tests that ship with Tokenmark, by name and version."""

    name: Label
    version: Annotated[int, Field(ge=1)] = 1


class Share(Contract):
    """`right` of `asked`, and between what the share lies with 95 % (Wilson's interval: E. B. Wilson, JASA 22, 1927)."""

    asked: int
    right: int
    accuracy: float | None
    ci95: tuple[float, float] | None


class KindShare(Share):
    kind: str


class AskedTest(Contract):
    """A test that was asked `asked` times, and answered right `right` times. `answer` is the first that was wrong, else the first, cut short."""

    test: str
    kind: str
    asked: int
    right: int
    answer: str


class StageQuality(Share):
    """A test counts as right when every answer to it was. `unsteady` tests were answered both ways; `unanswered` ones not at all, for a fault of the
    way or the server, and count nowhere."""

    unsteady: int
    unanswered: int
    kinds: list[KindShare]
    outcomes: list[AskedTest]


# --- code ---------------------------------------------------------------------------------------------------------------

MOST_PROBLEMS, MOST_PROBLEM = 20, 300  # of a component that are kept; characters of one
MOST_COMPONENT = 50_000  # characters that are looked at
ANSWERS_BLOCK, RESULT_BLOCK = "answers", "code"  # of the logs of a matrix's Jobs


class StructureCheck(Contract):
    what: str
    good: bool


class TestsPassed(Contract):
    """Of a fixture's own tests; `total` 0 where none could be run."""

    __test__ = False
    passed: Annotated[int, Field(ge=0, le=10_000)]
    total: Annotated[int, Field(ge=0, le=10_000)]
    problems: list[str] = []

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> TestsPassed:
        if self.passed > self.total:
            raise ValueError("passed: more than there are")
        return self


class CodeFinding(Contract):
    """What compilers and tests say of one component."""

    parses: bool
    compiles: bool
    problems: list[str]
    structure: list[StructureCheck]
    type_errors: list[str]
    tests: TestsPassed | None = None


class CodeAnswer(Contract):
    """One answer to one fixture. `score` is from 0 to 10; null where no answer came or its checks came to no end, as `ended` says: that counts nowhere."""

    fixture: str
    run: int
    score: Annotated[float, Field(ge=0, le=10)] | None
    seconds: float | None = None
    output_tokens: int | None = None
    finding: CodeFinding | None = None
    ended: str | None = None


class WrittenCode(Contract):
    """An answer as it came; `failure` says why none did."""

    fixture: Annotated[str, Field(min_length=1, max_length=253)]
    run: Annotated[int, Field(ge=0, le=1000)]
    component: Annotated[str, Field(max_length=MOST_COMPONENT)]
    seconds: float | None = None
    output_tokens: int | None = None
    failure: str | None = None


class CodeAnswers(Contract):
    """`code-answers/v1`: what a model wrote, to be judged elsewhere: asking needs a network, and judging shall have none."""

    schema_version: Literal["code-answers/v1"] = "code-answers/v1"
    model: Annotated[str, Field(max_length=253)]
    started_at: Annotated[str, Field(max_length=40)]
    gpu_utilization_avg: float | None = None
    answers: Annotated[list[WrittenCode], Field(min_length=1, max_length=10_000)]


class FixtureScore(Contract):
    """`same` is the share of the answers that are the most frequent one, letter for letter: how consistent a model is at temperature 0."""

    fixture: str
    runs: int
    mean: Annotated[float, Field(ge=0, le=10)]
    stddev: float | None
    same: float


class CodeResult(Contract):
    """`code-result/v1`: refactorings that a model was asked for, each several times."""

    schema_version: Literal["code-result/v1"] = "code-result/v1"
    cell: str | None = Field(default=None, description="Of a matrix: the hash of what was asked of whom.")
    model: str
    started_at: str
    ended_at: str
    mean: Annotated[float, Field(ge=0, le=10)]
    stddev: float | None
    fixtures: list[FixtureScore]
    answers: list[CodeAnswer]
    gpu_utilization_avg: float | None = None
    warnings: list[str] = []
