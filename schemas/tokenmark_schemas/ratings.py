"""`ratings/v1`: limits that turn a number into a word, by use; and what they say of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Contract

Word = Literal["excellent", "good", "acceptable", "poor", "failed"]
WORDS: tuple[Word, ...] = ("excellent", "good", "acceptable", "poor", "failed")
SHARES = ("success_rate", "accuracy")
Text = Annotated[str, Field(min_length=1, max_length=256)]


class RatingLine(Contract):
    """`limits` are those of excellent, good, acceptable and poor, in the metric's own unit: rising where lower is better,
    falling where higher is. `says` is what the number means to a person, `source` where the limits are from."""

    metric: Text
    statistic: Literal["p50", "p90", "p95", "p99", "mean"] | None = Field(
        default=None, description="None: success_rate and accuracy."
    )
    limits: Annotated[list[float], Field(min_length=4, max_length=4)]
    source: Text
    says: Text

    @model_validator(mode="after")
    def _in_order(self) -> RatingLine:
        if self.limits not in (sorted(self.limits), sorted(self.limits, reverse=True)):
            raise ValueError("limits stand in order, from excellent to poor")
        if (self.statistic is None) != (self.metric in SHARES):
            raise ValueError("a latency needs its statistic, success_rate and accuracy have none")
        return self


class RatingUse(Contract):
    """`workloads` are those that are of this use without being told."""

    name: Text
    about: Text
    workloads: list[Text] = []
    lines: Annotated[list[RatingLine], Field(min_length=1, max_length=32)]


class RatingFile(Contract):
    """A version of the limits. They change with what people expect; a word is of one version."""

    schema_version: Literal["ratings/v1"] = "ratings/v1"
    version: int
    date: Text
    uses: Annotated[list[RatingUse], Field(min_length=1, max_length=32)]


class RatedLine(Contract):
    stage: str
    metric: str
    statistic: str | None
    value: float | None
    unit: str
    word: Word | None = Field(description="Null where there is no value.")
    limits: list[float]
    says: str
    source: str


class Rated(Contract):
    """`word` is the worst of a stage's lines, null where one is not known."""

    use: str
    version: int
    stages: dict[str, Word | None]
    lines: list[RatedLine]
