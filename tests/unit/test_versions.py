"""An operator beside objects, results and statuses of a version after it: what runs goes on, what is new is left to the newer."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

from tests.support.results import a_result
from tests.support.runs import a_job, a_pod, conditions, ended_facts, facts, started, with_status
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.shared.facts import Decision
from tokenmark_operator.shared.status import read_object, unknown_in
from tokenmark_schemas.benchmarkrun import BenchmarkRun

AHEAD = {"execution": {"nextField": 7}}


def test_a_field_of_a_newer_crd_keeps_a_run_from_beginning_and_ends_nothing() -> None:
    cr, decision = started(**AHEAD)
    assert conditions(decision)["Succeeded"] == ("Unknown", "NewerSpec")
    assert conditions(decision)["Finished"][0] != "True"
    assert decision.create == []
    assert decision.requeue_s == 30.0
    message = next(c["message"] for c in decision.status["conditions"] if c["type"] == "Accepted")
    assert "spec.execution.nextField" in message
    known = {**cr, "spec": {**cr["spec"], "execution": {}}}
    assert conditions(decide(facts(known)))["Accepted"] == ("True", "Accepted")


def test_what_runs_goes_on_when_a_newer_crd_gives_it_a_further_field() -> None:
    cr, _ = started()
    cr["spec"] = {**cr["spec"], **AHEAD}
    busy = {"jobs": {"demo-a1": a_job()}, "pods": {"demo-a1": a_pod()}}
    assert conditions(decide(facts(cr, **busy)))["Succeeded"] == ("Unknown", "Running")


def test_a_spec_that_is_wrong_is_still_wrong() -> None:
    _, decision = started(repetitions=0)
    assert conditions(decision)["Succeeded"] == ("False", "InvalidSpec")


def test_unknown_fields_are_named_wherever_they_stand() -> None:
    cr, _ = started(**AHEAD)
    cr["spec"]["further"] = {"a": 1}
    assert unknown_in(BenchmarkRun, cr) == "spec.execution.nextField, spec.further"
    assert isinstance(read_object(BenchmarkRun, cr), BenchmarkRun)


def stored(**further: object) -> Decision:
    """The decision after a runner ended whose result says more than this version knows."""
    document = {**a_result().snake(), **further}
    document["run"]["next_member"] = document["stages"][0]["next_member"] = 7
    payload = gzip.compress(json.dumps(document).encode())
    cr, _ = started()
    at = replace(ended_facts(cr), blocks={"pod-demo-a1": {"result": payload}}, log_read=frozenset({"pod-demo-a1"}))
    first = decide(at)
    return decide(replace(at, cr=with_status(cr, first), stored=first.create_first[0]))


def test_a_newer_runners_result_is_a_result() -> None:
    assert conditions(stored(next_member={"a": [1]}))["Succeeded"] == ("True", "Completed")
