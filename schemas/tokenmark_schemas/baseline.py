"""`baseline/v1`: a run that was declared what later ones are held to. Each promotion is kept; the newest one counts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import DNS_LABEL, Contract, Text253, Text1024
from .result import RunResult

Category = Literal["Storage", "Retrieval", "Inference"]
BaselineName = Annotated[str, Field(min_length=1, max_length=40, pattern=DNS_LABEL)]
POINTER_KEY = "promotions.json"  # of the ConfigMap baseline-NAME: what was promoted, the newest last
RESULT_KEY = "result.json.gz"  # of the ConfigMap of one promotion


class Promotion(Contract):
    """Who was promoted, when and why; where its result lies is up to what keeps it."""

    schema_version: Literal["baseline/v1"] = "baseline/v1"
    name: BaselineName
    category: Category
    promoted_at: str
    why: Text1024 = ""
    source: Text1024 = Field(description="As the run was named when it was promoted.")
    run: Text253
    started_at: str
    provider: Text253 | None = None
    fingerprint: str
    kept_as: Text1024 = Field(description="The file, key or ConfigMap that holds its result.")


class Promoted(Contract):
    """A promotion with its result, as a file or an object of a store holds it."""

    promotion: Promotion
    result: RunResult


class Pointer(Contract):
    promotions: list[Promotion]
