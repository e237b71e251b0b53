"""What ends a stage or a run before its plan, and what looks for a load instead of following one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Contract


class Search(Contract):
    """Find the highest load that still meets every objective.

    Levels begin at that of the first stage and take its length; further stages and repetitions are not used.
    """

    find: Literal["MaxConcurrency", "MaxRate"]
    max_steps: Annotated[int, Field(ge=3, le=32)] = 12


class Precise(Contract):
    """Enough is known: on every stage half the 95 % interval is within this share of the value."""

    metric: Literal["ttft", "ttft_scheduled", "tpot", "itl", "e2e", "e2e_scheduled"]
    statistic: Literal["p50", "p99"] = "p50"
    within_per_mille: Annotated[int, Field(ge=1, le=1000)] = 50


class StopRules(Contract):
    """What ends a stage before its time. What was measured until then stays."""

    max_errors_per_mille: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="More failures than this end the run."
    )
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=50, description="Answers before maxErrorsPerMille is looked at."
    )
    over_saturation: Literal["Ignore", "EndStage"] = Field(
        default="Ignore",
        description="EndStage: in open loop, end a stage whose queue only grows, for 10 s at least and by more than chance.",
    )
    max_celsius: Annotated[int, Field(ge=30, le=150)] | None = Field(
        default=None, description="The target's machine hotter than this, twice in a row, ends the run."
    )
    max_throttled_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = Field(
        default=None, description="Its processors slowed down by heat for so long without a pause end the run."
    )
    when_precise: Precise | None = Field(
        default=None, description="End the run after two repetitions or more; repetitions is then the most there are."
    )
