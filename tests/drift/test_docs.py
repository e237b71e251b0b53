"""What the documentation says of tables in the code stands in both."""

from __future__ import annotations

from pathlib import Path

from bench_runner.analysis.verdict import RULES
from bench_runner.engines import ENGINES
from bench_runner.sim.scenario import Scenario

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_rule_of_the_verdict_is_explained_with_its_limits() -> None:
    rows = {line.split("`")[1]: line for line in page("verdict.md").splitlines() if line.startswith("| `")}
    for rule in RULES:
        assert rule.code in rows, rule.code
        for limit in (rule.degraded, rule.invalid or rule.degraded):
            shown = {f"{limit:g}", f"{limit * 1000:g} ms", f"{limit * 100:g} %"}
            assert any(text in rows[rule.code] for text in shown), (rule.code, limit)


def test_every_route_of_every_engine_is_named() -> None:
    text = page("engines.md")
    assert [route.path for routes in ENGINES.values() for route in routes if route.path not in text] == []


def test_a_scenario_has_every_field_or_says_it_elsewhere() -> None:
    text = page("simulator.md")
    known_elsewhere = {"model", "tokens", "role_chunk", "api_token"}  # flags of the verb
    assert [name for name in Scenario.model_fields if name not in known_elsewhere and f"{name}:" not in text] == []
