"""An object's status as this version understands it: what a newer operator wrote and this one does not know is kept in the
object and left out of the model, so that a rollback goes on where the newer one was.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
MOST_ROUNDS = 200


def read_status(model: type[M], raw: dict[str, Any] | None) -> M:
    """Whatever of a status can be read. A member that cannot be is dropped, with its entry where it stands in a list."""
    plain = deepcopy(raw or {})
    for _ in range(MOST_ROUNDS):
        try:
            return model.model_validate(plain)
        except ValidationError as exc:
            for error in exc.errors(include_url=False, include_context=False):
                _drop(plain, error["loc"])
    return model()


def _drop(plain: Any, path: tuple[int | str, ...]) -> None:
    """Takes the last member of a path away, or what is left of the path."""
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        key: Any = part
        if isinstance(plain, dict) and key not in plain and isinstance(part, str):
            head, *tail = part.split("_")
            key = head + "".join(word.capitalize() for word in tail)
        try:
            if last or not isinstance(plain[key], dict | list):
                del plain[key]
                return
            plain = plain[key]
        except (KeyError, IndexError, TypeError):
            return
