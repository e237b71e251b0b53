"""What a 409 or a refusal of the API server means: three kinds that a person would tell apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tokenmark_operator.core.apply import NamesakeDying, NotMade, create_once
from tokenmark_operator.core.kube import ApiError
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
    with pytest.raises(NotMade, match="belongs to somebody else") as told:
        create(TAKEN, foreign)
    assert (told.value.refusal.reason, told.value.refusal.passing) == ("NameConflict", False)


def test_what_the_server_will_never_take_is_said_in_its_words() -> None:
    with pytest.raises(NotMade, match="must be less than or equal to memory limit") as told:
        create(ApiError(422, "Invalid", "Job is invalid: must be less than or equal to memory limit"))
    assert (told.value.refusal.reason, told.value.refusal.passing) == ("CreateRefused", False)


@pytest.mark.parametrize(
    ("words", "reason"),
    [("exceeded quota: compute", "QuotaExceeded"), ("because it is being terminated", "NamespaceTerminating")],
)
def test_what_may_pass_is_a_fact_for_the_next_step(words: str, reason: str) -> None:
    with pytest.raises(NotMade, match=words) as told:
        create(ApiError(403, "Forbidden", words))
    assert (told.value.refusal.reason, told.value.refusal.passing) == (reason, True)


def test_a_name_that_holds_the_word_is_no_namespace_that_ends() -> None:
    with pytest.raises(NotMade) as told:
        create(ApiError(403, "Forbidden", 'jobs.batch "terminator-a1" is forbidden: no'))
    assert told.value.refusal.reason == "CreateRefused"
