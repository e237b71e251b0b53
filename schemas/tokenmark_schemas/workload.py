"""`workload/v1`: what is asked of an engine, and the load shape it is asked in.

The hash covers all that changes the work done by the server (data, lengths, sampling), not the load shape: two runs
with the same hash at different concurrency are points of one curve.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from .base import (
    Contract,
    Label,
    Seconds,
    Sha256,
    Text1024,
    Tokens,
    cel,
    exactly_one,
    list_map,
    rules,
)
from .database import SEARCHES, Operations, Records
from .kube import ConfigMapKey
from .quality import BuiltInTests

DECIMAL_RATE = r"^\d{1,6}(\.\d{1,3})?$"


class Arrival(StrEnum):
    CONSTANT = "Constant"
    POISSON = "Poisson"
    GAMMA = "Gamma"


class Trace(Contract):
    """Replays the arrival times of a JSON lines data set, whose lines have a `timestamp` in milliseconds."""

    speedup: Annotated[str, Field(min_length=1, max_length=10, pattern=DECIMAL_RATE)] = Field(
        default="1", description="2 replays in half the time."
    )
    span_seconds: Seconds = Field(default=3600, description="How long the replay takes at most; it is cut off there.")

    @model_validator(mode="after")
    def _forward(self) -> Trace:
        if float(self.speedup) <= 0:
            raise ValueError("speedup must be above zero")
        return self


class Stage(Contract):
    """One load level. Closed loop (`concurrency`) or open loop (`requestRate`), until a duration or a count."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("concurrency", "requestRate", "trace"),
            cel(
                "has(self.durationSeconds) || has(self.requestCount) || has(self.trace)",
                "set durationSeconds or requestCount",
            ),
            cel(
                "!has(self.arrival) || has(self.requestRate)",
                "arrival describes requestRate; leave it out with concurrency",
            ),
            cel(
                "(has(self.burstiness)) == (has(self.arrival) && self.arrival == 'Gamma')",
                "burstiness is the shape of arrival Gamma: set it there, and only there",
            ),
            cel(
                "!has(self.rampTo) || (has(self.requestRate) && has(self.durationSeconds))",
                "rampTo changes requestRate over durationSeconds: set both",
            ),
        )
    )
    name: Label = Field(description="Names the stage in results and metrics.")
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Closed loop: requests kept in flight."
    )
    request_rate: Annotated[str, Field(min_length=1, max_length=10, pattern=DECIMAL_RATE)] | None = Field(
        default=None, description="Open loop: requests per second, as a decimal string."
    )
    trace: Trace | None = Field(default=None, description="Open loop: the recorded arrival times of the data set.")
    arrival: Arrival | None = Field(default=None, description="How open-loop arrivals are spaced; Constant if unset.")
    burstiness: Annotated[str, Field(min_length=1, max_length=10, pattern=DECIMAL_RATE)] | None = Field(
        default=None, description="Shape of the Gamma gaps: 1 is Poisson, below it arrivals come in bursts."
    )
    ramp_to: Annotated[str, Field(min_length=1, max_length=10, pattern=DECIMAL_RATE)] | None = Field(
        default=None, description="Open loop: the rate at the end of the stage, reached along a straight line."
    )
    duration_seconds: Seconds | None = Field(
        default=None, description="Stop sending after this long; what is under way then has 30 s to end."
    )
    request_count: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None,
        description="Stop sending after this many requests; each has the time that the target's timeouts give.",
    )

    @model_validator(mode="after")
    def _one_load_and_a_stop_rule(self) -> Stage:
        if [self.concurrency, self.request_rate, self.trace].count(None) != 2:
            raise ValueError("set exactly one of concurrency, requestRate, trace")
        if self.duration_seconds is None and self.request_count is None and self.trace is None:
            raise ValueError("set durationSeconds or requestCount")
        if self.arrival is not None and self.request_rate is None:
            raise ValueError("arrival describes requestRate; leave it out with concurrency")
        if self.request_rate is not None and float(self.request_rate) <= 0:
            raise ValueError("requestRate must be above zero")
        if (self.burstiness is not None) != (self.arrival == Arrival.GAMMA):
            raise ValueError("burstiness is the shape of arrival Gamma: set it there, and only there")
        if self.burstiness is not None and float(self.burstiness) <= 0:
            raise ValueError("burstiness must be above zero")
        if self.ramp_to is not None and (self.request_rate is None or self.duration_seconds is None):
            raise ValueError("rampTo changes requestRate over durationSeconds: set both")
        return self

    @property
    def rate_per_s(self) -> float | None:
        """Open-loop rate in requests per second, None in closed loop."""
        return None if self.request_rate is None else float(self.request_rate)

    @property
    def ramp_to_per_s(self) -> float | None:
        return None if self.ramp_to is None else float(self.ramp_to)

    @property
    def burstiness_shape(self) -> float:
        return 1.0 if self.burstiness is None else float(self.burstiness)


class Warmup(Contract):
    """Requests before the measurement, until both hold; reported as a phase of their own, never in the numbers."""

    request_count: Annotated[int, Field(ge=0, le=100_000)] = 10
    duration_seconds: Annotated[int, Field(ge=0, le=86_400)] = 5


class Spread(Contract):
    """Whole numbers, normal around `mean`, cut to [min, max]; without stddev, exactly `mean`."""

    mean: Tokens
    stddev: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min: Tokens | None = None
    max: Tokens | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.min > self.mean:
            raise ValueError("min must not be above mean")
        if self.max is not None and self.max < self.mean:
            raise ValueError("max must not be below mean")
        return self


class TokenLengths(Spread):
    """A length in tokens: normal around `mean`, cut to [min, max]; without stddev, exactly `mean`."""


class Synthetic(Contract):
    """Seeded text of common one-token words: lengths are controlled without a tokenizer, every prompt is unique."""

    input_tokens: TokenLengths
    output_tokens: TokenLengths | None = Field(default=None, description="Default: maxOutputTokens.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    shared_prefix_tokens: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="Tokens at the start that all prompts share: measures prefix caching on purpose."
    )


class Conversation(Contract):
    """Requests are turns of conversations, each with all that was said before. A failed turn ends its conversation."""

    model_config = ConfigDict(
        json_schema_extra=rules(cel("!has(self.turns) || self.turns.mean <= 64", "turns.mean: 64 at most"))
    )
    turns: Spread = Field(default=Spread(mean=4), description="Turns of each; data sets with turns bring their own.")
    think_milliseconds: Spread | None = Field(
        default=None, description="From the end of an answer to the next turn; unset: none."
    )
    history: Literal["Answers", "Scripted"] = Field(
        default="Answers",
        description="What earlier answers are repeated as: the engine's own, or a text that is the same everywhere.",
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.turns.mean > 64:
            raise ValueError("turns.mean: 64 at most")
        return self


class JsonLines(Contract):
    """A file of one JSON object a line: `prompt`, `messages` or `turns`, optionally `max_output_tokens`."""

    uri: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^(https?|file|s3|gs|az)://")]
    sha256: Sha256


class Dataset(Contract):
    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one("synthetic", "prompts", "configMap", "jsonl", "records", "tests"))
    )
    synthetic: Synthetic | None = None
    prompts: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=16_384)]], Field(min_length=1, max_length=256)]
        | None
    ) = Field(default=None, description="Literal prompts, used in turn.")
    config_map: ConfigMapKey | None = Field(default=None, description="JSON lines in a ConfigMap of this namespace.")
    jsonl: JsonLines | None = None
    records: Records | None = Field(default=None, description="For databases: what the run fills them with.")
    tests: BuiltInTests | None = Field(
        default=None,
        description="Questions whose answers are judged; ask each once: requestCount of a stage is their number. JSON lines with `test`, `kind` "
        "and `expect` are judged as well.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("set exactly one of synthetic, prompts, configMap, jsonl, records, tests")
        return self


class Sampling(Contract):
    """Sampling parameters as integers: `temperatureMilli: 700` is 0.7."""

    temperature_milli: Annotated[int, Field(ge=0, le=5_000)] = 0
    top_p_milli: Annotated[int, Field(ge=1, le=1_000)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class WorkloadSpec(Contract):
    """The work itself, as it stands inline in a BenchmarkRun: prompts for an engine, or operations on a database."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.operations) == has(self.dataset.records)", "operations and dataset.records go together"),
            cel(
                "has(self.maxOutputTokens) != has(self.operations)",
                "set maxOutputTokens for an engine, or operations for a database",
            ),
        )
    )
    dataset: Dataset
    max_output_tokens: Tokens | None = Field(default=None, description="The most tokens an answer may have.")
    operations: Operations | None = Field(default=None, description="For databases, in place of prompts.")
    min_output_tokens: Tokens | None = None
    ignore_eos: Literal["Server", "Force"] = Field(
        default="Server",
        alias="ignoreEOS",
        description="Force asks engines that can to go on past the end-of-sequence token, so that lengths are equal.",
    )
    streaming: bool = True
    sampling: Sampling = Sampling()
    conversation: Conversation | None = None

    @model_validator(mode="after")
    def _prompts_or_operations(self) -> Self:
        records, operations = self.dataset.records, self.operations
        if (operations is None) != (records is None):
            raise ValueError("operations and dataset.records go together")
        if (self.max_output_tokens is None) != (operations is not None):
            raise ValueError("set maxOutputTokens for an engine, or operations for a database")
        if records and operations and not records.dimensions:
            for operation in operations:
                if operation.searches:
                    raise ValueError(f"operation {operation.name} needs vectors: set dataset.records.dimensions")
        for operation in operations or []:
            if operation.kind in SEARCHES and records and operation.k > records.count:
                raise ValueError(f"operation {operation.name}: k is above dataset.records.count")
        return self

    @property
    def most_tokens(self) -> int:
        """Of an answer; a database gives none."""
        return self.max_output_tokens or 0

    def content_hash(self, dataset_sha256: str | None = None) -> str:
        """sha256 over what changes the server's work; `dataset_sha256` stands for data kept outside the document."""
        fields = self.model_dump(mode="json", include=set(WorkloadSpec.model_fields), exclude_none=True)
        document = {**fields, "dataset_sha256": dataset_sha256}
        return hashlib.sha256(canonical_json(document)).hexdigest()


Stages = Annotated[list[Stage], Field(min_length=1, max_length=32, json_schema_extra=list_map("name"))]


class Workload(WorkloadSpec):
    """A workload file: versioned, immutable once published, and says which question it answers."""

    schema_version: Literal["workload/v1"] = "workload/v1"
    name: Label
    version: Annotated[int, Field(ge=1)] = 1
    question: Text1024
    stages: Stages
    warmup: Warmup = Warmup()

    @model_validator(mode="after")
    def _names_differ(self) -> Workload:
        check_stage_names(self.stages)
        return self


def check_stage_names(stages: list[Stage]) -> None:
    """Raises ValueError when two stages share a name."""
    names = [stage.name for stage in stages]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"stage names must differ; {', '.join(twice)} stands twice")


def canonical_json(document: Any) -> bytes:
    """Sorted keys, no spaces: the same content has the same bytes, and so the same hash."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
