"""BenchmarkSweep v1alpha1: a recipe as an object: the operator makes its runs one after the other and says how far each went."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from .base import Contract, Text63, cel, list_map, rules
from .kube import ObjectMeta, Status, immutable, named_within
from .recipe import Question, Recipe, check_base
from .run_template import RunTemplate

LONGEST_NAME = 37  # a run's name has 48 characters, ten of them for what tells it from the others
MOST_RUNS = 64
RunState = Literal["Waiting", "Running", "Measured", "Failed", "Left"]


class SweepSpec(Question):
    """What is asked is immutable: results of another question are no answer to this one."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.vary.engines) || size(self.vary.engines) == 0",
                "engines are names of a file on one machine; name targets",
                path=".vary.engines",
            ),
            cel(
                "!has(self.template.spec.stages) && !has(self.template.spec.search)",
                "leave stages and search out; vary says which levels are tried",
                path=".template.spec",
            ),
            cel(
                "!has(self.template.spec.ttlSecondsAfterFinished)",
                "set the sweep's own ttlSecondsAfterFinished; a run that deletes itself may be gone before it is read",
                path=".template.spec.ttlSecondsAfterFinished",
            ),
            *[
                immutable(name, always=True)
                for name in ("vary", "each", "repetitions", "cooldownSeconds", "seed", "template")
            ],
        )
    )
    budget_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = Field(
        default=None,
        description="No run is begun this long after the first one was; what is left is named, and the sweep has ended.",
    )
    suspend: bool = Field(default=False, description="No further run is begun; the one under way goes on to its end.")
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="The sweep and its runs are deleted so long after the last of them."
    )
    template: RunTemplate

    @model_validator(mode="after")
    def _whole(self) -> SweepSpec:
        if self.vary.engines:
            raise ValueError("vary.engines: engines are names of a file on one machine; name targets")
        if self.template.spec.ttl_seconds_after_finished is not None:
            raise ValueError("template.spec.ttlSecondsAfterFinished: set the sweep's own")
        check_base(self.vary, self.template.spec)
        return self


class SweptRun(Contract):
    """One of its runs; loads in thousandths of `unit`. `Left`: there was no time for it."""

    name: Text63
    run: Text63
    state: RunState
    reason: Text63 | None = Field(default=None, description="Of the run's condition Succeeded.")
    valid: Literal["True", "False", "Unknown"] | None = None
    unit: Text63 | None = None
    saturates_at_milli: int | None = Field(
        default=None, description="The lowest load with nearly all of the best throughput; absent: above all tried."
    )
    best_per_second_milli: int | None = Field(default=None, description="Output tokens, or calls of a database.")
    low_milli: int | None = Field(default=None, description="From here ...")
    high_milli: int | None = Field(
        default=None, description="... to here every objective holds, at half the throughput or more."
    )
    margin_per_mille: int | None = Field(default=None, description="Of the tightest objective, at highMilli.")


class SweepStatus(Status):
    model_config = ConfigDict(extra="ignore")
    sweep_id: Annotated[str, Field(max_length=64)] | None = Field(default=None, alias="sweepID")
    runs_progress: Annotated[str, Field(max_length=16)] | None = None
    runs: Annotated[list[SweptRun], Field(max_length=MOST_RUNS, json_schema_extra=list_map("name"))] = []


class BenchmarkSweep(Contract):
    api_version: Literal["tokenmark.dev/v1alpha1"]
    kind: Literal["BenchmarkSweep"]
    metadata: Annotated[ObjectMeta, named_within(LONGEST_NAME, "a sweep's")]
    spec: SweepSpec
    status: SweepStatus | None = None

    def as_recipe(self) -> Recipe:
        """The same question for this machine."""
        said = {name: getattr(self.spec, name) for name in Recipe.model_fields if name in type(self.spec).model_fields}
        return Recipe(name=self.metadata.name, spec=self.spec.template.spec, **said)
