"""`profiles/v1`: what a model on a machine of one's own is used for, as loads that are small enough for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Contract, Label, Text1024
from .recipe import EachLevel
from .workload import Warmup, WorkloadSpec

Depth = Literal["quick", "standard", "full"]
MOST_RUNS = 100  # of a task of code
DEPTHS: tuple[Depth, ...] = ("quick", "standard", "full")


class Effort(Contract):
    """How long each load is measured, by how much time a person has."""

    quick: EachLevel
    standard: EachLevel
    full: EachLevel


class ProfilePart(Contract):
    """One load. `context` is what the server keeps for each of `concurrency` streams, in tokens."""

    name: Label | None = Field(default=None, description="Tells the parts of a profile apart; one alone needs none.")
    workload: WorkloadSpec | None = Field(default=None, description="What is asked; unset where it is code.")
    max_output_tokens: Annotated[int, Field(ge=16, le=100_000)] | None = Field(
        default=None, description="The most of an answer that is code; 1,500 if unset."
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    context: Annotated[int, Field(ge=256, le=10_000_000)] = 4096


class Profile(Contract):
    """`about` says in a sentence what its numbers mean to a person, `use` which of the ratings they are held to. Parts go from the lightest to the
    heaviest: where one fails, the heavier ones are not tried. `counts` names what an answer is, where answers are counted by the hour."""

    name: Label
    about: Text1024
    use: Label
    kind: Literal["speed", "quality", "stress", "code"] = "speed"
    counts: Literal["documents"] | None = None
    on_request: bool = Field(default=False, description="Run only where it is named.")
    warmup: Warmup = Warmup(request_count=1, duration_seconds=0)
    each: Effort
    parts: Annotated[list[ProfilePart], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _parts_named(self) -> Profile:
        names = [part.name for part in self.parts]
        if len(names) > 1 and (None in names or len(set(names)) < len(names)):
            raise ValueError("parts: of several each needs a name of its own")
        tests = [part.workload is not None and part.workload.dataset.tests is not None for part in self.parts]
        if (self.kind == "quality") != all(tests):
            raise ValueError("kind quality is for parts whose dataset is tests, and for no others")
        if any((self.kind == "code") != (part.workload is None) for part in self.parts):
            raise ValueError("parts of kind code have no workload, and all others have one")
        if self.kind != "code" and any(part.max_output_tokens for part in self.parts):
            raise ValueError("parts: maxOutputTokens is for kind code; of others it stands in their workload")
        if self.kind == "code" and any(getattr(self.each, depth).request_count is None for depth in DEPTHS):
            raise ValueError("each: kind code takes requestCount, how often each fixture is asked")
        if self.kind == "code" and any(not _is_for_code(getattr(self.each, depth)) for depth in DEPTHS):
            raise ValueError(f"each: kind code is asked by count alone, {MOST_RUNS} times at the most")
        return self


def _is_for_code(effort: EachLevel) -> bool:
    return effort.duration_seconds is None and (effort.request_count or 0) <= MOST_RUNS


class ProfilesFile(Contract):
    schema_version: Literal["profiles/v1"] = "profiles/v1"
    version: Annotated[int, Field(ge=1)]
    profiles: Annotated[list[Profile], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _named_once(self) -> ProfilesFile:
        names = [each.name for each in self.profiles]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"profiles: {', '.join(twice)} stands twice")
        return self
