"""BenchmarkSchedule v1alpha1: runs made again and again by the clock, as a CronJob makes Jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from .base import Contract, Label, Text253
from .kube import Condition, ObjectMeta, Timestamp, named_within
from .run_template import RunTemplate

LONGEST_NAME = 37  # with a hyphen and the minute behind it, a run's name has 48 characters at most
CRON = r"^(@(hourly|daily|weekly|monthly)|\S+( +\S+){4})$"
MACROS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
Keep = Annotated[int, Field(ge=0, le=1000)]


class ScheduleSpec(Contract):
    """The fields are a CronJob's. A history of finished runs is kept; what shall be kept longer belongs in an object store."""

    schedule: Annotated[str, Field(min_length=1, max_length=128, pattern=CRON)] = Field(
        description="Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly."
    )
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = Field(
        default="UTC", description="Of the schedule, as the IANA data base names it: Europe/Berlin."
    )
    suspend: bool = False
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = Field(
        default="Forbid",
        description="Where the run before goes on: make another, leave this one out, or delete the one before.",
    )
    starting_deadline_seconds: Annotated[int, Field(ge=10, le=86_400 * 30)] | None = Field(
        default=None,
        description="A time missed by longer, while suspended or without an operator, is left out; unset: made up for once.",
    )
    successful_runs_history_limit: Keep = 10
    failed_runs_history_limit: Keep = 3
    campaign: Label | None = Field(
        default=None, description="Label of all its runs' results, to find and compare them by."
    )
    template: RunTemplate

    @field_validator("schedule")
    @classmethod
    def _plain(cls, schedule: str) -> str:
        return " ".join(schedule.split())

    @property
    def cron(self) -> str:
        """Five fields."""
        return MACROS.get(self.schedule, self.schedule)


class ScheduleStatus(Contract):
    model_config = ConfigDict(extra="ignore")
    observed_generation: int | None = None
    conditions: Annotated[list[Condition], Field(max_length=8)] | None = None
    active: Annotated[list[Text253], Field(max_length=64)] = []
    last_schedule_time: Timestamp | None = None
    last_successful_time: Timestamp | None = None
    next_schedule_time: Timestamp | None = None


class BenchmarkSchedule(Contract):
    api_version: Literal["tokenmark.dev/v1alpha1"]
    kind: Literal["BenchmarkSchedule"]
    metadata: Annotated[ObjectMeta, named_within(LONGEST_NAME, "a schedule's")]
    spec: ScheduleSpec
    status: ScheduleStatus | None = None
