"""What the API server would refuse as a schema is refused here first, with the path."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, Field

from tokenmark_schemas.structural import structural


class Inner(BaseModel):
    n: int = Field(gt=0, le=9)


class Outer(BaseModel):
    kind: Literal["only"]
    inner: Inner | None = None
    many: list[Inner] = []
    named: dict[str, int] = {}


class Node(BaseModel):
    children: list[Node] = []


class Either(BaseModel):
    value: int | str


def test_references_optional_members_and_bounds_become_structural() -> None:
    schema = structural(Outer.model_json_schema(), path="spec")
    assert schema["properties"]["kind"]["enum"] == ["only"]
    inner = schema["properties"]["inner"]
    assert inner["properties"]["n"] == {"type": "integer", "format": "int64", "minimum": 1, "maximum": 9}
    assert schema["properties"]["many"]["items"]["properties"]["n"]["minimum"] == 1
    assert schema["properties"]["named"]["additionalProperties"]["type"] == "integer"
    assert "$defs" not in str(schema)
    assert "default" not in inner


def test_a_recursive_type_is_refused() -> None:
    with pytest.raises((ValueError, RecursionError)):
        structural(Node.model_json_schema(), path="spec")


def test_a_union_is_refused_with_its_path() -> None:
    with pytest.raises(ValueError, match=r"spec\.value: anyOf has no structural form"):
        structural(Either.model_json_schema(), path="spec")
