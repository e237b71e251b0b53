"""`recipe/v1`: one question over many runs: how far does it go, with which engine, model and workload?"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Contract, Label, Text253, Text1024
from .benchmarkrun import BenchmarkRunSpec, Target
from .database import DATABASES, Index
from .workload import DECIMAL_RATE

Level = Annotated[int, Field(ge=1, le=100_000)]
Rate = Annotated[str, Field(min_length=1, max_length=10, pattern=DECIMAL_RATE)]


class NamedTarget(Contract):
    """What is asked, and what its runs are called by."""

    name: Label
    target: Target


class Vary(Contract):
    """`clients` (a closed loop) or `rates` (an open one) are the levels of every run; each engine or target, model, workload and index is
    a run of its own. Engines are names of an engines file; targets are whole ones, such as servers with other flags."""

    clients: Annotated[list[Level], Field(max_length=32)] = []
    rates: Annotated[list[Rate], Field(max_length=32)] = []
    engines: Annotated[list[Label], Field(max_length=16)] = []
    targets: Annotated[list[NamedTarget], Field(max_length=16)] = []
    models: Annotated[list[Text253], Field(max_length=32)] = []
    workloads: Annotated[list[Label], Field(max_length=16)] = []
    indexes: Annotated[list[Index], Field(max_length=16)] = Field(default=[], description="Of a database's vectors.")

    @model_validator(mode="after")
    def _levels(self) -> Vary:
        if bool(self.clients) == bool(self.rates):
            raise ValueError("set clients or rates: the levels of load")
        if self.engines and self.targets:
            raise ValueError("set engines or targets")
        for name in ("clients", "rates", "engines", "targets", "models", "workloads", "indexes"):
            values = [getattr(value, "name", None) or str(value) for value in getattr(self, name)]
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: each value may stand once")
        return self


class EachLevel(Contract):
    """How long a level is measured, each time."""

    request_count: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    duration_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None

    @model_validator(mode="after")
    def _one(self) -> EachLevel:
        if self.request_count is None and self.duration_seconds is None:
            raise ValueError("set requestCount or durationSeconds")
        return self


class Question(Contract):
    """What is asked of many runs, whether a recipe asks or a BenchmarkSweep."""

    purpose: Text1024 | None = None
    vary: Vary
    each: EachLevel
    repetitions: Annotated[int, Field(ge=3, le=50)] = 3
    cooldown_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    budget_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = Field(
        default=None,
        description="No run is begun after this long; what is left is said, and a resumed sweep goes on with it.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1


def check_base(vary: Vary, spec: BenchmarkRunSpec) -> None:
    """A run's spec as the ground of a question. Raises ValueError where it says what `vary` says."""
    if spec.stages is not None or spec.search is not None:
        raise ValueError("spec.stages and spec.search: leave them out; vary says which levels are tried")
    if vary.workloads and spec.workload is not None:
        raise ValueError("vary.workloads: leave spec.workload out")
    others = [each.target.engine for each in vary.targets] or [spec.target.engine]
    if vary.indexes and not set(others) <= set(DATABASES):
        raise ValueError(f"vary.indexes: with engine {', '.join(others)}; it is for postgres and chroma")


class Recipe(Question):
    """`spec` is a BenchmarkRun's, without stages and repetitions: those follow from `vary`, `each` and `repetitions`."""

    schema_version: Literal["recipe/v1"] = "recipe/v1"
    name: Label
    spec: BenchmarkRunSpec

    @model_validator(mode="after")
    def _nothing_twice(self) -> Recipe:
        check_base(self.vary, self.spec)
        return self
