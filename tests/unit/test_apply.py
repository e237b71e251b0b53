"""What a 409 or a refusal of the API server means: three kinds that a person would tell apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tokenmark_operator.apply import CreateRefused, NameConflict, NamesakeDying, create_once
from tokenmark_operator.kube import ApiError
from tokenmark_operator.plan import names


def config_map(uid: str, **meta: Any) -> dict[str, Any]:
    owner = {"kind": "BenchmarkRun", "name": "x", "uid": uid}
    labels = {names.UID_LABEL: uid}
    return {
        "kind": "ConfigMap",
        "metadata": {"name": "x-a1-config", "labels": labels, "ownerReferences": [owner], **meta},
    }


class Server:
    """An API server that answers a creation with one error and holds one object."""

    def __init__(self, error: ApiError | None, held: dict[str, Any] | None = None) -> None:
        self._error, self._held = error, held

    async def create(self, *_: Any) -> None:
        if self._error:
            raise self._error

    async def get(self, *_: Any) -> dict[str, Any] | None:
        return self._held


def create(error: ApiError | None, held: dict[str, Any] | None = None) -> None:
    asyncio.run(create_once(Server(error, held), "bench", config_map("u2"), "u2"))


TAKEN = ApiError(409, "AlreadyExists", "already exists")


def test_what_this_very_object_made_before_is_fine() -> None:
    create(TAKEN, config_map("u2"))


@pytest.mark.parametrize("held", [None, config_map("u1"), config_map("u2", deletionTimestamp="2030-01-01T00:00:00Z")])
def test_what_an_earlier_namesake_left_is_waited_for(held: dict[str, Any] | None) -> None:
    with pytest.raises(NamesakeDying, match="still being removed"):
        create(TAKEN, held)


def test_what_belongs_to_somebody_else_is_a_conflict() -> None:
    foreign = {"kind": "ConfigMap", "metadata": {"name": "x-a1-config"}}
    with pytest.raises(NameConflict, match="belongs to somebody else"):
        create(TAKEN, foreign)


def test_what_the_server_will_never_take_is_said_in_its_words() -> None:
    with pytest.raises(CreateRefused, match="must be less than or equal to memory limit"):
        create(ApiError(422, "Invalid", "Job is invalid: must be less than or equal to memory limit"))


@pytest.mark.parametrize("words", ["exceeded quota: compute", "because it is being terminated"])
def test_what_may_pass_is_tried_again(words: str) -> None:
    with pytest.raises(ApiError, match=words):
        create(ApiError(403, "Forbidden", words))
