"""BenchmarkSweep: one run after the other, what becomes of each, and when it is over."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bench_runner.config.recipes import cells_of, sweep_id
from tests.support.results import a_result
from tests.support.runs import SETTINGS, conditions
from tokenmark_operator.kinds.sweep import decide_sweep
from tokenmark_operator.shared.facts import Decision, Refusal, SweepFacts
from tokenmark_operator.telemetry.sweeps import sweep_metrics
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.sweep import BenchmarkSweep

NOW = datetime(2026, 3, 4, 3, 0, 0, tzinfo=UTC)
RUN = {"target": {"model": "m", "endpoint": {"url": "http://e:8000"}}, "workloadRef": {"name": "smoke"}}
TARGETS = [{"name": name, "target": {"model": "m", "serviceRef": {"name": name, "port": 8000}}} for name in ("a", "b")]


def a_sweep(status: dict[str, Any] | None = None, *, name: str = "far", **spec: Any) -> dict[str, Any]:
    asked = {
        "vary": {"clients": [1, 2, 4], "targets": TARGETS},
        "each": {"requestCount": 10},
        "template": {"spec": RUN},
        **spec,
    }
    return {
        "apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkSweep",
        "metadata": {"name": name, "namespace": "n", "uid": "s-1", "generation": 1, "creationTimestamp": "2026-03-04T02:00:00Z"},
        "spec": asked, "status": status or {},
    }  # fmt: skip


def a_run(name: str, succeeded: str | None = None, reason: str = "Completed", valid: str = "True") -> dict[str, Any]:
    said = [
        {"type": "Valid", "status": valid, "reason": "r"},
        {"type": "Finished", "status": "True" if succeeded else "Unknown", "reason": "r"},
        {"type": "Succeeded", "status": succeeded or "Unknown", "reason": reason},
    ]
    return {"metadata": {"name": name, "namespace": "n"}, "spec": {}, "status": {"conditions": said}}


def step(cr: dict[str, Any], now: datetime = NOW, **known: Any) -> Decision:
    return decide_sweep(SweepFacts(cr=cr, now=now, settings=SETTINGS, **known))


def made(decision: Decision) -> list[str]:
    return [manifest["metadata"]["name"] for manifest in decision.create_first]


def rows(decision: Decision) -> dict[str, str]:
    return {row["run"]: row["state"] for row in decision.status["runs"]}


def through(
    cr: dict[str, Any], ends: dict[str, dict[str, Any]], results: dict[str, RunResult] | None = None
) -> Decision:
    """Steps until it is over, each run ending as told: `ends` by name."""
    runs: dict[str, dict[str, Any]] = {}
    for _ in range(20):
        decision = step(cr, runs=runs, results=results or {})
        cr = {**cr, "status": decision.status}
        if conditions(decision)["Finished"][0] == "True":
            return decision
        for name in made(decision):
            assert not [run for run in runs.values() if run not in ends.values()], "one at a time"
            runs[name] = ends[name]
    raise AssertionError(decision.status)


def test_the_first_run_is_made_with_every_load_as_a_stage() -> None:
    decision = step(a_sweep(purpose="how far", template={"spec": RUN, "metadata": {"labels": {"team": "x"}}}))
    (run,) = decision.create_first
    assert run["metadata"]["name"] in ("far-a", "far-b")
    assert run["metadata"]["labels"] | {"team": "x", "tokenmark.dev/sweep": "far"} == run["metadata"]["labels"]
    assert run["metadata"]["ownerReferences"][0]["uid"] == "s-1"
    checked = BenchmarkRun.model_validate(run)
    assert [stage.concurrency for stage in checked.spec.stages or []] == [1, 2, 4]
    assert checked.spec.target.service_ref is not None
    assert checked.spec.target.endpoint is None, "a named target stands for itself alone"
    assert checked.spec.environment is not None
    assert checked.spec.environment.labels["sweep"] == decision.status["sweepID"]
    assert sorted(rows(decision).values()) == ["Running", "Waiting"]
    assert decision.status["runsProgress"] == "0/2"
    assert conditions(decision) == {
        "Accepted": ("True", "Accepted"), "Finished": ("Unknown", "Pending"), "Succeeded": ("Unknown", "Running"),
    }  # fmt: skip


def test_an_operator_that_was_killed_before_it_wrote_the_status_takes_up_the_run_that_it_made() -> None:
    (name,) = made(step(a_sweep()))
    again = step(a_sweep(), runs={name: a_run(name)})
    assert made(again) == []
    assert rows(again)[name] == "Running"


def test_the_order_is_the_seeds_and_the_same_as_on_a_laptop() -> None:
    many = {"clients": [1], "models": [f"m{n}" for n in range(8)]}
    decision = step(a_sweep(vary=many, seed=7))
    recipe = BenchmarkSweep.model_validate(a_sweep(vary=many, seed=7) | {"status": None}).as_recipe()
    assert [row["name"] for row in decision.status["runs"]] == [cell.name for cell in cells_of(recipe, [])]
    assert [row["name"] for row in decision.status["runs"]] != sorted(row["name"] for row in decision.status["runs"])


def test_when_all_are_measured_it_says_how_far_each_went() -> None:
    ends = {"far-a": a_run("far-a", "True"), "far-b": a_run("far-b", "False", "ObjectiveViolated", "False")}
    decision = through(a_sweep(), ends, {"far-a": a_result(), "far-b": a_result()})
    assert conditions(decision)["Succeeded"] == ("True", "Completed")
    assert decision.status["runsProgress"] == "2/2"
    assert set(rows(decision).values()) == {"Measured"}, "a missed objective is measured all the same"
    assert {row["valid"] for row in decision.status["runs"]} == {"True", "False"}


def test_a_run_that_failed_or_was_deleted_is_named_and_the_others_go_on() -> None:
    failed = {"far-a": a_run("far-a", "False", "TargetFailed"), "far-b": a_run("far-b", "True")}
    decision = through(a_sweep(), failed, {"far-b": a_result()})
    assert conditions(decision)["Succeeded"] == ("False", "RunsFailed")
    assert rows(decision) == {"far-a": "Failed", "far-b": "Measured"}
    first = step(a_sweep())
    gone = step(a_sweep(first.status), runs={})
    assert [(row["state"], row.get("reason")) for row in gone.status["runs"] if row["run"] == made(first)[0]] == [
        ("Failed", "RunDeleted")
    ]


def test_a_result_that_was_told_once_stays_when_its_run_is_deleted() -> None:
    first = step(a_sweep())
    name = made(first)[0]
    told = step(a_sweep(first.status), runs={name: a_run(name, "True")}, results={name: a_result()})
    later = step(a_sweep(told.status), runs={})
    assert rows(later)[name] == "Measured"


def test_suspended_no_further_run_is_begun() -> None:
    decision = step(a_sweep(suspend=True))
    assert made(decision) == []
    assert conditions(decision)["Succeeded"] == ("Unknown", "Suspended")
    assert len(made(step(a_sweep(decision.status)))) == 1


def test_a_budget_ends_it_between_two_runs_and_names_what_is_left() -> None:
    first = step(a_sweep(budgetMinutes=10))
    name = made(first)[0]
    late = NOW + timedelta(minutes=11)
    running = step(a_sweep(first.status, budgetMinutes=10), late, runs={name: a_run(name)})
    assert conditions(running)["Succeeded"] == ("Unknown", "Running"), "what is under way is not cut off"
    over = step(
        a_sweep(running.status, budgetMinutes=10), late, runs={name: a_run(name, "True")}, results={name: a_result()}
    )
    assert conditions(over)["Succeeded"] == ("False", "BudgetSpent")
    assert sorted(rows(over).values()) == ["Left", "Measured"]


@pytest.mark.parametrize(("passing", "state"), [(True, "Waiting"), (False, "Failed")])
def test_a_run_that_the_api_server_refuses(passing: bool, state: str) -> None:
    """A quota may pass; what is refused for good fails, and the next is tried."""
    refused = Refusal("BenchmarkRun", "far-a", "QuotaExceeded" if passing else "CreateRefused", "no room", passing)
    decision = step(a_sweep(), refused=refused)
    assert sorted(set(rows(decision).values())) == sorted({"Waiting", state})
    assert made(decision) == []


def test_what_is_no_sweep_is_refused_in_words() -> None:
    many = {
        "clients": [1],
        "models": [f"m{n}" for n in range(32)],
        "workloads": ["smoke", "chat-standard", "rag-short"],
    }
    began = time.monotonic()
    refused = step(a_sweep(vary=many, template={"spec": {"target": RUN["target"]}}))
    assert _said(refused) == "vary stands for 96 runs; 64 are the most"
    assert time.monotonic() - began < 1
    with_stages = {"spec": {**RUN, "stages": [{"name": "c1", "concurrency": 1, "requestCount": 1}]}}
    decision = step(a_sweep(template=with_stages))
    assert conditions(decision)["Accepted"] == ("False", "InvalidSpec")
    twins = {"clients": [1], "models": ["m.1", "m-1"]}
    assert "several of the runs would be called m-1" in _said(step(a_sweep(vary=twins)))
    with pytest.raises(ValidationError, match="set the sweep's own"):
        BenchmarkSweep.model_validate(a_sweep(template={"spec": {**RUN, "ttlSecondsAfterFinished": 5}}))
    with pytest.raises(ValidationError, match="name targets"):
        BenchmarkSweep.model_validate(a_sweep(vary={"clients": [1], "engines": ["vllm"]}))


def _said(decision: Decision) -> str:
    return str(next(c["message"] for c in decision.status["conditions"] if c["type"] == "Accepted"))


def test_long_names_are_told_apart() -> None:
    models = ["meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct-FP8"]
    name = "how-far-goes-this-very-large-cluster"
    decision = step(a_sweep(name=name, vary={"clients": [1], "models": models}))
    found = [row["run"] for row in decision.status["runs"]]
    assert len(set(found)) == 2
    assert all(len(each) <= 48 and each.startswith(f"{name}-") for each in found)


def test_a_sweep_of_one_run_calls_it_as_itself() -> None:
    assert made(step(a_sweep(vary={"clients": [1, 2]}))) == ["far"]


def test_its_runs_are_counted_by_state() -> None:
    cr = a_sweep(step(a_sweep()).status)
    (family,) = sweep_metrics([cr])
    counted = {sample.labels["state"]: sample.value for sample in family.samples}
    assert counted == {"Waiting": 1, "Running": 1, "Measured": 0, "Failed": 0, "Left": 0}


def test_after_the_end_its_time_to_live_takes_it() -> None:
    ends = {"far-a": a_run("far-a", "True"), "far-b": a_run("far-b", "True")}
    over = through(a_sweep(), ends, {"far-a": a_result(), "far-b": a_result()})
    waits = step(a_sweep(over.status, ttlSecondsAfterFinished=60), NOW + timedelta(seconds=30))
    assert (waits.delete_self, waits.requeue_s) == (False, 30)
    assert step(a_sweep(over.status, ttlSecondsAfterFinished=60), NOW + timedelta(seconds=61)).delete_self


@pytest.mark.parametrize(
    "change", [{"purpose": "another"}, {"suspend": True}, {"ttlSecondsAfterFinished": 5}, {"budgetMinutes": 9}]
)
def test_what_may_be_changed_on_the_way_changes_no_name_and_no_id(change: dict[str, Any]) -> None:
    """Of a name as long as can be, which is made of the cell's hash."""
    vary = {"clients": [1], "models": ["meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct-FP8"]}
    long = "how-far-goes-this-very-large-cluster"
    first = step(a_sweep(name=long, vary=vary))
    (name,) = made(first)
    later = step(a_sweep(first.status, name=long, vary=vary, **change), runs={name: a_run(name)})
    fresh = step(a_sweep(name=long, vary=vary, **change))
    assert rows(later)[name] == "Running"
    assert later.status["sweepID"] == fresh.status["sweepID"] == first.status["sweepID"]
    assert set(rows(fresh)) == set(rows(first))


def test_a_laptop_gives_the_same_question_the_same_id() -> None:
    recipe = BenchmarkSweep.model_validate(a_sweep() | {"status": None}).as_recipe()
    assert sweep_id(recipe) == step(a_sweep()).status["sweepID"]


def test_a_budget_begins_with_the_first_run_and_not_while_it_is_suspended() -> None:
    waits = step(a_sweep(suspend=True, budgetMinutes=10))
    later = NOW + timedelta(minutes=30)
    still = step(a_sweep(waits.status, suspend=True, budgetMinutes=10), later)
    assert conditions(still)["Succeeded"] == ("Unknown", "Suspended")
    assert len(made(step(a_sweep(still.status, budgetMinutes=10), later))) == 1
