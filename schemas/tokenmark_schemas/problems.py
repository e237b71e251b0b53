"""Validation failures as sentences: what is wrong, at which field (and line, where there is one), what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Problem:
    path: tuple[str | int, ...]
    message: str

    @property
    def field(self) -> str:
        """The path as people write it: `spec.stages[1].name`."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
        return text

    def __str__(self) -> str:
        return f"{self.field or 'the document'}: {self.message}"


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Pydantic's errors -> our sentences, one a field, unknown names with the nearest known one."""
    return [_problem(item, model) for item in error.errors(include_url=False)]


def _problem(item: Any, model: type[BaseModel]) -> Problem:
    path = tuple(to_camel(p) if isinstance(p, str) and "_" in p else p for p in item["loc"])
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden":
        return Problem(path, _unknown(str(item["loc"][-1]), known_names(model, item["loc"][:-1])))
    if kind == "missing":
        return Problem(path, "is required and missing")
    if kind == "value_error":
        return Problem(path, without_login(str(item["ctx"]["error"])))
    message = without_login(item["msg"][0].lower() + item["msg"][1:])
    if isinstance(given, str | int | float | bool):
        return Problem(path, f"{message}; found {without_login(repr(given))}")
    return Problem(path, message)


def without_login(text: str) -> str:
    """The same with every user and password of an address blotted out: what is printed or stored is read by many. Greedy up
    to the last @ before a space: a password may hold any character, a wrong address too."""
    return re.sub(r"(?<=://)[^\s]*@", "***@", text)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]}?" if near else (f"; known here: {', '.join(sorted(known))}" if known else "")
    return f"unknown field{hint}"


def known_names(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The camelCase names allowed at that path of the model; empty where the path leaves the model."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None:
            continue
        current = _member(current, part)
    return [field.alias or name for name, field in current.model_fields.items()] if current else []


def _member(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    for field_name, field in model.model_fields.items():
        if name in (field_name, field.alias):
            return next(_models_in(field.annotation), None)
    return None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
