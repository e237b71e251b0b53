"""Base model and the bounded types every contract is made of.

One model, two spellings: camelCase is the alias (Kubernetes objects), snake_case the field name (files, results); both
are accepted on input. Every string and list is bounded: these values come from outside, and the API server refuses
CEL rules over unbounded ones.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
KeyName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Text63 = Annotated[str, Field(max_length=63)]
Text253 = Annotated[str, Field(max_length=253)]
Text1024 = Annotated[str, Field(max_length=1024)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
StringMap = Annotated[dict[str, Annotated[str, Field(max_length=253)]], Field(max_length=32)]


class Contract(BaseModel):
    """Frozen; refuses unknown fields; speaks camelCase by alias and snake_case by name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=False,
        use_enum_values=True,
        defer_build=True,  # a verb pays for the models it uses, not for all of them
    )

    def snake(self) -> dict[str, Any]:
        """As it stands in files and results: snake_case, JSON types, absent values kept as null."""
        return self.model_dump(mode="json")

    def camel(self) -> dict[str, Any]:
        """As it stands in Kubernetes objects: camelCase, absent values left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def cel(rule: str, message: str, *, path: str | None = None, reason: str | None = None) -> dict[str, str]:
    """One `x-kubernetes-validations` entry; `path` is relative to the object the rule sits on."""
    entry = {"rule": rule, "message": message}
    if path:
        entry["fieldPath"] = path
    if reason:
        entry["reason"] = reason
    return entry


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """The `json_schema_extra` that carries CEL rules of a model into its CRD."""
    return {"x-kubernetes-validations": list(entries)}


def list_map(*keys: str) -> dict[str, Any]:
    """The `json_schema_extra` of a list whose items are named."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def exactly_one(*names: str) -> dict[str, str]:
    """CEL: one, and only one, of these optional members is set."""
    members = ", ".join(f"has(self.{name})" for name in names)
    return cel(f"[{members}].filter(x, x).size() == 1", f"set exactly one of {', '.join(names)}")
