"""The trigger: a body changes what it may of the template, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tokenmark_operator.trigger import Asked, plan_triggered_run

TEMPLATE: dict[str, Any] = {
    "target": {"model": "m", "serviceRef": {"name": "s", "port": 8000}}, "workloadRef": {"name": "smoke"}, "purpose": "nightly",
    "stages": [{"name": "r5", "requestRate": "5", "arrival": "Poisson", "durationSeconds": 60}],
    "environment": {"provider": "azure", "labels": {"team": "x"}},
}  # fmt: skip


def planned(**asked: Any) -> dict[str, Any]:
    return plan_triggered_run(TEMPLATE, Asked.model_validate(asked), "bench", "00ff00ff")


def test_an_empty_body_is_the_template() -> None:
    run = planned()
    assert run["spec"] == TEMPLATE
    assert run["metadata"] == {
        "name": "triggered-00ff00ff",
        "namespace": "bench",
        "labels": {"tokenmark.dev/trigger": "http"},
    }


@pytest.mark.parametrize(
    ("asked", "stage"),
    [
        ({"concurrency": 4}, {"name": "c4", "concurrency": 4, "durationSeconds": 60}),
        ({"concurrency": 4, "requests": 9}, {"name": "c4", "concurrency": 4, "requestCount": 9}),
        ({"requests": 9}, {"name": "r5", "requestRate": "5", "arrival": "Poisson", "requestCount": 9}),
        ({"duration_seconds": 7}, {"name": "r5", "requestRate": "5", "arrival": "Poisson", "durationSeconds": 7}),
    ],
)
def test_a_load_takes_the_place_of_the_templates(asked: dict[str, Any], stage: dict[str, Any]) -> None:
    assert planned(**asked)["spec"]["stages"] == [stage]


def test_the_rest_stands_beside_what_the_template_says() -> None:
    spec = planned(
        max_output_tokens=256, warmup_requests=5, repetitions=2, seed=9, purpose="release", labels={"commit": "abc"}
    )["spec"]
    assert (spec["maxOutputTokens"], spec["repetitions"], spec["seed"], spec["purpose"]) == (256, 2, 9, "release")
    assert spec["warmup"] == {"requestCount": 5, "durationSeconds": 0}
    assert spec["environment"] == {"provider": "azure", "labels": {"team": "x", "commit": "abc"}}
    assert spec["target"] == TEMPLATE["target"]


@pytest.mark.parametrize(
    "body",
    ['{"target": {}}', '{"concurrency": 0}', '{"max_output_tokens": "a lot"}', '{"labels": {"a": 1}}', "[]", "{"],
)
def test_what_may_not_be_asked_for_is_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        Asked.model_validate_json(body)


def test_a_template_that_is_no_run_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="set exactly one of endpoint, serviceRef"):
        plan_triggered_run({"target": {"model": "m"}}, Asked(), "bench", "00")
