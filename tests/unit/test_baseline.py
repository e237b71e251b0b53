"""A run with `baselineRef`: what its condition, its status, its metrics and its ConfigMap say, and when it fails by it."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from typing import Any

from tests.support.comparable import a_comparable, a_repetition
from tests.support.runs import conditions, ended_facts, started, with_status
from tests.support.scrape import exposed
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.shared.facts import Decision
from tokenmark_schemas.result import RunResult

GATE = {"gates": [{"metric": "ttft", "statistic": "p50"}]}


def a_found(name: str, factor: float = 1.0, uid: str = "uid-demo", **more: Any) -> RunResult:
    rng = random.Random(name)
    reps = [a_repetition(k, {"ttft": [factor * rng.uniform(0.020, 0.026) for _ in range(600)]}) for k in range(3)]
    found = a_comparable(name, *reps)
    return found.model_copy(update={"run": found.run.model_copy(update={"uid": uid}), **more})


def concluded(
    ref: dict[str, Any], baseline: RunResult | str | None, factor: float = 1.0
) -> tuple[dict[str, Any], Decision]:
    """The object and the last decision, once the ConfigMap that the first one asks for is there."""
    cr, _ = started(baselineRef={"name": "before", **ref})
    payload = gzip.compress(json.dumps(a_found("demo", factor).snake()).encode())
    facts = replace(
        ended_facts(cr, baseline=baseline), blocks={"pod-demo-a1": {"result": payload, "requests": b"rows"}}
    )
    first = decide(facts)
    stored = next(made for made in first.create_first if made["kind"] == "ConfigMap")
    last = decide(replace(facts, cr=with_status(cr, first), stored=stored, baseline="it is gone by now"))
    return {**with_status(cr, last), "stored": stored}, last


def test_a_run_that_is_no_worse_says_so_with_the_figures() -> None:
    cr, decision = concluded(GATE, a_found("before"))
    assert conditions(decision)["NotRegressed"] == ("True", "NotRegressed")
    said = next(c["message"] for c in decision.status["conditions"] if c["type"] == "NotRegressed")
    assert said.startswith("against before: ttft p50 at c1 ")
    assert json.loads(cr["stored"]["data"]["comparison.json"])["result"] == "passed"


def test_a_slower_run_is_regressed_in_condition_status_and_metric() -> None:
    cr, decision = concluded(GATE, a_found("before"), factor=1.2)
    assert conditions(decision)["NotRegressed"] == ("False", "Regressed")
    assert conditions(decision)["Succeeded"] == ("True", "Completed"), "it reports, and was not asked to fail"
    line = next(row for row in decision.status["comparison"] if row.get("statistic") == "p50")
    assert (line["outcome"], line["gate"]) == ("REGRESSED", True)
    assert 185 < line["changePerMille"] < 215
    text = exposed(cr)
    shown = next(
        row
        for row in text.splitlines()
        if row.startswith("tokenmark_run_regression_ratio{") and 'metric="ttft:p50"' in row
    )
    assert 1.185 < float(shown.rsplit(" ", 1)[1]) < 1.215
    assert "tokenmark_run_not_regressed{" in text


def test_it_fails_the_run_where_that_is_asked_for() -> None:
    _, decision = concluded({**GATE, "onRegression": "Fail"}, a_found("before"), factor=1.2)
    assert conditions(decision)["Succeeded"] == ("False", "Regressed")


def test_a_baseline_that_is_not_there_is_named_and_fails_nothing() -> None:
    _, decision = concluded({**GATE, "onRegression": "Fail"}, "there is no BenchmarkRun before in namespace bench")
    assert conditions(decision)["NotRegressed"] == ("Unknown", "NotComparable")
    assert conditions(decision)["Succeeded"] == ("True", "Completed")


def test_other_work_is_not_compared() -> None:
    other = a_found("before")
    other = other.model_copy(update={"provenance": other.provenance.model_copy(update={"fingerprint": "1" * 64})})
    _, decision = concluded(GATE, other)
    assert conditions(decision)["NotRegressed"] == ("Unknown", "NotComparable")


def test_without_gates_the_objectives_name_them_and_without_either_nothing_decides() -> None:
    _, decision = concluded({}, a_found("before"), factor=1.2)
    assert conditions(decision)["NotRegressed"] == ("Unknown", "NoGates")


def test_a_run_without_a_baseline_has_no_such_condition() -> None:
    cr, _ = started()
    decision = decide(ended_facts(cr))
    assert "NotRegressed" not in conditions(decision)
