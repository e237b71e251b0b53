"""`engines/v1`: the engines that a person works with, by name: where each is and how to speak with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from .base import Contract, Label, Text253
from .benchmarkrun import EngineName
from .problems import without_login


class EngineConnection(Contract):
    """`token_env` names the variable that holds the bearer token. `retries` are of health and discovery alone, each after twice
    the time of the one before; a load never tries again."""

    name: Label
    engine: EngineName
    url: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^(https?|postgresql)://")]
    model: Text253 | None = Field(default=None, description="What is asked for where nothing else is said.")
    token_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=253)] | None = None
    ca_file: str | None = None
    insecure_skip_tls_verify: bool = Field(default=False, alias="insecureSkipTLSVerify")
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    retries: Annotated[int, Field(ge=0, le=10)] = 2

    @field_validator("url")
    @classmethod
    def _no_login(cls, value: str) -> str:
        if without_login(value) != value:
            raise ValueError("a login in a URL ends up in logs: put the token into a variable, and name it in tokenEnv")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _of_its_kind(self) -> EngineConnection:
        if self.url.startswith("postgresql:") != (self.engine == "postgres"):
            raise ValueError("url: postgresql://host:5432 for engine postgres, http:// or https:// for every other")
        return self


class EnginesFile(Contract):
    schema_version: Literal["engines/v1"] = "engines/v1"
    engines: Annotated[list[EngineConnection], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _named_once(self) -> EnginesFile:
        names = [each.name for each in self.engines]
        if len(set(names)) < len(names):
            raise ValueError("each name may stand once")
        return self
