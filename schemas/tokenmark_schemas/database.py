"""Work on a database: records that the run makes itself, operations on them, and the index that is compared.

Records are seeded, so that two runs ask two servers the very same; what the nearest vectors are is known before they are asked.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from .base import Contract, Label, cel, list_map, rules

DATABASES = ("postgres", "chroma")
SEARCHES = ("Search", "FilteredSearch")
Kind = Literal["PointRead", "Insert", "Update", "Search", "FilteredSearch", "Statement"]
Parameter = Literal["Id", "NewId", "Payload", "Category", "Vector"]


class Records(Contract):
    """`count` of them: an id, one of `categories`, a text of `payloadBytes`, and a vector where there are dimensions. Vectors lie in
    clusters, as those of texts do, and distances are Euclidean."""

    count: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    dimensions: Annotated[int, Field(ge=0, le=2_000)] = 0
    payload_bytes: Annotated[int, Field(ge=1, le=65_536)] = 100
    categories: Annotated[int, Field(ge=1, le=10_000)] = 10
    queries: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=256, description="Different vectors that searches take in turn; the truth of each is computed before."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7


class Operation(Contract):
    """Chosen by weight, in an order that the seed fixes. `Statement` is for postgres: SQL of one's own with $1, $2 for `parameters`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "has(self.statement) == (self.kind == 'Statement')", "statement is for kind Statement, which needs one"
            ),
            cel("!has(self.parameters) || self.kind == 'Statement'", "parameters are for kind Statement"),
        )
    )
    name: Label
    kind: Kind
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    k: Annotated[int, Field(ge=1, le=1000)] = Field(default=10, description="Of searches: how many are asked for.")
    statement: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    parameters: Annotated[list[Parameter], Field(max_length=8)] | None = None

    @property
    def searches(self) -> bool:
        """Whether it looks for the nearest vectors."""
        parameters = self.parameters or []
        return self.kind in SEARCHES or ("Vector" in parameters and "NewId" not in parameters)

    @model_validator(mode="after")
    def _statement_of_its_kind(self) -> Operation:
        if (self.statement is not None) != (self.kind == "Statement"):
            raise ValueError("statement is for kind Statement, which needs one")
        if self.parameters and self.kind != "Statement":
            raise ValueError("parameters are for kind Statement")
        return self


Operations = Annotated[list[Operation], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))]


class Index(Contract):
    """Of the vectors. Flat has none: searches are exact and slow. Chroma always has Hnsw."""

    kind: Literal["Hnsw", "Flat"] = "Hnsw"
    m: Annotated[int, Field(ge=2, le=100)] = Field(default=16, description="Links of a vector.")
    ef_construction: Annotated[int, Field(ge=4, le=1000)] = 64
    ef_search: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=40, description="Candidates of a search: more find more, and take longer."
    )

    @property
    def described(self) -> str:
        """In a result, for a person."""
        if self.kind == "Flat":
            return "flat"
        return f"hnsw m={self.m} ef_construction={self.ef_construction} ef_search={self.ef_search}"


class DatabaseSpec(Contract):
    """For engines postgres and chroma. A run makes a database of its own on the server and drops it at its end; one that is there already
    is entered only where `name` says so, and there everything stays within a schema or collection that the run makes."""

    name: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")] | None = Field(
        default=None, description="An existing database to work in."
    )
    user: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] = Field(
        default="postgres", description="Of postgres; the password is the token of target.authSecretRef."
    )
    connections: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=16, description="Of an open loop to postgres; a closed loop has as many as its concurrency."
    )
    index: Index = Index()
