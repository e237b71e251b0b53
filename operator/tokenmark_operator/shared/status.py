"""An object's status as this version understands it: what a newer operator wrote and this one does not know is kept in the
object and left out of the model, so that a rollback goes on where the newer one was. What became of an attempt is never
guessed: where that cannot be read, nothing is decided.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tokenmark_schemas.problems import problems_of

M = TypeVar("M", bound=BaseModel)
VITAL = ("attempts", "pairs")  # what a decision stands on
MOST_ROUNDS = 500


class NotUnderstood(Exception):
    """A status that a newer operator wrote, in a part that this one may not pass over."""


def read_status(model: type[M], raw: dict[str, Any] | None) -> M:
    """Whatever of a status can be read: unknown fields are passed over, and whole members that make no sense, but for those
    that a decision stands on. Raises NotUnderstood for those."""
    plain = deepcopy(raw or {})
    for _ in range(MOST_ROUNDS):
        try:
            return model.model_validate(plain, extra="ignore")
        except ValidationError as exc:
            error = exc.errors(include_url=False, include_context=False)[-1]
        path = [*error["loc"]]
        if path[0] in VITAL:
            where = ".".join(map(str, path))
            raise NotUnderstood(f"status.{where}: {error['msg']}; was it written by a newer operator?")
        # an entry of a list, or the whole member
        _drop(plain, path[:2] if isinstance(plain.get(_spelt(plain, path[0])), list) else path[:1])
    raise NotUnderstood("the status cannot be read; was it written by a newer operator?")


def read_object(model: type[M], cr: dict[str, Any]) -> M | str:
    """An object without its status as a model, or what is wrong with it. Fields that this version does not know are passed
    over: the API server took them by a newer CRD (see `unknown_in`)."""
    try:
        return model.model_validate(_told(cr), extra="ignore")
    except ValidationError as exc:
        return "; ".join(str(problem) for problem in problems_of(exc, model))


def unknown_in(model: type[M], cr: dict[str, Any]) -> str | None:
    """The fields of an object that this version does not know; None where it knows all of them."""
    try:
        model.model_validate(_told(cr))
    except ValidationError as exc:
        extra = [error["type"] == "extra_forbidden" for error in exc.errors(include_url=False)]
        named = [problem.field for problem, is_extra in zip(problems_of(exc, model), extra, strict=True) if is_extra]
        return ", ".join(named) or None
    return None


def _told(cr: dict[str, Any]) -> dict[str, Any]:
    return {part: cr[part] for part in ("apiVersion", "kind", "metadata", "spec")}


def _spelt(plain: dict[str, Any], part: int | str) -> Any:
    """A member by either of its spellings."""
    if part in plain or not isinstance(part, str):
        return part
    head, *tail = part.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _drop(plain: Any, path: list[int | str]) -> None:
    """Takes away what a path leads to."""
    for part in path[:-1]:
        plain = plain[_spelt(plain, part) if isinstance(plain, dict) else part]
    del plain[_spelt(plain, path[-1]) if isinstance(plain, dict) else path[-1]]
