"""Recipes and what becomes of them: the runs that they stand for, what is done and what is left, and how far a server goes."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench_runner.cli.sweep import _flags
from bench_runner.config.connections import connections
from bench_runner.config.recipes import Cell, cells_of, read_recipe, sweep_id
from bench_runner.reports.sweep import Swept, markdown
from bench_runner.run.sweep import Sweep
from tests.cluster.layout import TREE
from tests.support.commands import tokenmark
from tests.support.results import a_result
from tokenmark_decisions.saturation import saturation
from tokenmark_schemas.documents import read_models
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.recipe import Recipe
from tokenmark_schemas.result import ObjectiveResult, RunResult
from tokenmark_schemas.workload import Stage


def a_recipe(**changes: Any) -> Recipe:
    said = {
        "name": "far", "spec": {"target": {"engine": "vllm", "model": "m", "endpoint": {"url": "http://h:1"}}},
        "vary": {"clients": [1, 2, 4]}, "each": {"requestCount": 10}, **changes,
    }  # fmt: skip
    return Recipe.model_validate(said)


def cells(**changes: Any) -> list[Cell]:
    return cells_of(a_recipe(**changes), connections(None, {}))


# --- what a recipe stands for ---------------------------------------------------------------------------------------


def test_levels_are_stages_of_one_run_and_the_rest_are_runs_of_their_own() -> None:
    found = cells(
        vary={
            "clients": [1, 8],
            "engines": ["vllm", "ollama"],
            "models": ["a", "b"],
            "workloads": ["smoke", "chat-standard"],
        }
    )
    assert len(found) == 8
    assert {(cell.engine, cell.model, cell.workload) for cell in found} == {
        (e, m, w) for e in ("vllm", "ollama") for m in ("a", "b") for w in ("smoke", "chat-standard")
    }
    spec = next(cell for cell in found if cell.name == "ollama-b-chat-standard").manifest["spec"]
    assert spec["target"]["endpoint"]["url"] == "http://127.0.0.1:11434"
    assert [(stage["name"], stage["concurrency"], stage["requestCount"]) for stage in spec["stages"]] == [
        ("c1", 1, 10),
        ("c8", 8, 10),
    ]
    assert spec["repetitions"] == 3
    assert spec["environment"]["labels"]["sweep"].startswith("far-")


def test_rates_are_an_open_loop() -> None:
    (cell,) = cells(vary={"rates": ["2.5", "10"]})
    assert [(stage["name"], stage["requestRate"]) for stage in cell.manifest["spec"]["stages"]] == [
        ("r2-5", "2.5"),
        ("r10", "10"),
    ]


def test_the_order_is_shuffled_and_the_same_each_time() -> None:
    models = [f"m{k}" for k in range(12)]
    first, again = (cells(vary={"clients": [1], "models": models}) for _ in range(2))
    assert [cell.name for cell in first] == [cell.name for cell in again] != models
    assert [cell.name for cell in cells(vary={"clients": [1], "models": models}, seed=2)] != [
        cell.name for cell in first
    ]


def test_the_same_recipe_has_the_same_id_and_a_changed_one_another() -> None:
    assert sweep_id(a_recipe()) == sweep_id(a_recipe())
    assert sweep_id(a_recipe()) != sweep_id(a_recipe(each={"requestCount": 11}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vary": {}}, "set clients or rates"),
        ({"vary": {"clients": [1], "rates": ["1"]}}, "set clients or rates"),
        ({"vary": {"clients": [1, 1]}}, "each value may stand once"),
        ({"each": {}}, "set requestCount or durationSeconds"),
        ({"repetitions": 2}, "greater than or equal to 3"),
    ],
)
def test_a_recipe_that_asks_for_nothing_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        a_recipe(**changes)


def test_an_engine_that_is_not_known_is_said() -> None:
    with pytest.raises(InvalidInput, match="there is no engine named gpu"):
        cells(vary={"clients": [1], "engines": ["gpu"]})


@pytest.mark.parametrize(
    "path", sorted((TREE / "deploy" / "examples").glob("recipe_*.yaml")), ids=lambda path: path.stem
)
def test_every_recipe_that_ships_stands_for_runs_that_can_be_applied(path: Path, tmp_path: Path) -> None:
    for cell in cells_of(read_recipe(path), connections(None, {})):
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(cell.manifest))
        assert read_models(tmp_path / "run.yaml")


# --- what is done and what is left ----------------------------------------------------------------------------------


def measured(folder: Path, name: str, cell: str, *, interrupted: bool = False) -> None:
    found = a_result()
    provenance = found.provenance.model_copy(update={"environment": {"cell": cell}})
    result = found.model_copy(
        update={"provenance": provenance, "run": found.run.model_copy(update={"interrupted": interrupted})}
    )
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "result.json").write_text(json.dumps(result.snake()))


HASHES = {"a": "1", "b": "2", "c": "3"}


def test_what_is_done_is_not_done_again_and_what_was_cut_short_or_is_of_another_recipe_is(tmp_path: Path) -> None:
    measured(tmp_path, "a", "1")
    measured(tmp_path, "b", "2", interrupted=True)
    measured(tmp_path, "c", "another")
    asked: list[str] = []

    def run_one(name: str) -> int:
        asked.append(name)
        measured(tmp_path, name, HASHES[name])
        return 0

    assert [part.name for part in Sweep(tmp_path, HASHES, None).run(run_one)] == asked == ["b", "c"]
    assert [part.state for part in Sweep(tmp_path, HASHES, None).parts] == ["done"] * 3
    assert len(list(Sweep(tmp_path, HASHES, None, again=True).run(run_one))) == 3


def test_a_run_that_fails_keeps_no_other_from_being_measured(tmp_path: Path) -> None:
    def run_one(name: str) -> int:
        if name == "b":
            return 5
        measured(tmp_path, name, HASHES[name])
        return 4 if name == "c" else 0

    whole = Sweep(tmp_path, HASHES, None)
    assert [(part.name, part.state) for part in whole.run(run_one)] == [("a", "done"), ("b", "failed"), ("c", "done")]
    said = json.loads((tmp_path / "run.json").read_text())
    assert [part["state"] for part in said["runs"]] == ["done", "failed", "done"]


def test_an_interruption_ends_it_and_the_run_waits_to_be_done(tmp_path: Path) -> None:
    whole = Sweep(tmp_path, HASHES, None)
    assert len(list(whole.run(lambda _: 130))) == 1
    assert [part.state for part in whole.parts] == ["waiting"] * 3


def test_no_run_is_begun_after_the_budget_and_what_is_left_is_said(tmp_path: Path) -> None:
    times = iter([0.0, 1.0, 61.0, 62.0])
    whole = Sweep(tmp_path, HASHES, 60.0, clock=lambda: next(times))

    def run_one(name: str) -> int:
        measured(tmp_path, name, HASHES[name])
        return 0

    list(whole.run(run_one))
    assert [part.state for part in whole.parts] == ["done", "left", "left"]


# --- how far a server goes ------------------------------------------------------------------------------------------


LEVELS = (1, 2, 4, 8, 16)


def at_levels(throughput: list[float], ttft: list[float], limit: float | None = None) -> RunResult:
    found = a_result()
    one = found.stages[0]
    stages, outcomes = [], []
    for level, tokens, first in zip(LEVELS, throughput, ttft, strict=True):
        name = f"c{level}"
        stages.append(
            one.model_copy(
                update={"name": name, "load": Stage(name=name, concurrency=level, request_count=200),
                        "throughput": one.throughput.model_copy(update={"output_tokens_per_s": tokens}),
                        "metrics": one.metrics | {"ttft": one.metrics["ttft"].model_copy(update={"p50": first})}}
            )
        )  # fmt: skip
        if limit is not None:
            outcomes.append(
                ObjectiveResult(
                    metric="ttft",
                    statistic="p50",
                    stage=name,
                    limit=limit,
                    value=first,
                    unit="s",
                    met="true" if first <= limit else "false",
                    on_violation="Report",
                )
            )
    return found.model_copy(update={"stages": stages, "objectives": outcomes})


def a_server(slots: int, rng: random.Random) -> tuple[list[float], list[float]]:
    """So many answers at a time, 50 ms each; more wait in turn. Throughput and TTFT two per cent off each time."""
    tokens = [100.0 * min(level, slots) * rng.lognormvariate(0, 0.02) for level in LEVELS]
    firsts = [(0.02 + 0.05 * max(0.0, level / slots - 1)) * rng.lognormvariate(0, 0.02) for level in LEVELS]
    return tokens, firsts


def test_a_server_whose_end_is_known_is_found_within_one_step() -> None:
    rng, trials, hits = random.Random(1), 400, 0
    for k in range(trials):
        slots = (2, 3, 4, 5, 6, 8)[k % 6]
        found = saturation(at_levels(*a_server(slots, rng)))
        assert found is not None
        truth = next(place for place, level in enumerate(LEVELS) if level >= slots)
        place = LEVELS.index(int(found.saturates_at)) if found.saturates_at is not None else len(LEVELS)
        hits += abs(place - truth) <= 1
    assert hits / trials >= 0.95


def test_a_server_that_still_grows_has_no_end_that_is_known() -> None:
    found = saturation(at_levels(*a_server(64, random.Random(2))))
    assert found is not None
    assert (found.saturates_at, found.bends_at, found.high, found.breaks) == (None, None, None, ())


def test_the_range_its_margin_and_where_it_breaks() -> None:
    found = saturation(at_levels([100, 200, 400, 410, 405], [0.02, 0.02, 0.021, 0.07, 0.15], limit=0.1))
    assert found is not None
    assert (found.unit, found.saturates_at, found.bends_at) == ("streams", 4, 8)
    assert (found.low, found.high) == (4, 8)
    assert found.margin == pytest.approx(0.3)
    (broken,) = found.breaks
    assert (broken.objective, broken.holds_at, broken.breaks_at) == ("ttft p50", 8, 16)
    text = markdown(
        "far-1",
        "Why?",
        [
            Swept(
                "a",
                "vllm",
                "m",
                "w",
                "done",
                at_levels([100, 200, 400, 410, 405], [0.02, 0.02, 0.021, 0.07, 0.15], limit=0.1),
            ),
            Swept("b", "vllm", "m", "w", "failed", None),
        ],
    )
    assert "| a | vllm | m | w | valid | 4 streams | 410 | 4 to 8 streams | 30 % |" in text
    assert "- ttft p50 breaks at 16 streams, holds at 8." in text
    assert "failed: there is no result." in text


def test_a_search_s_levels_that_nobody_judged_are_in_no_range() -> None:
    result = at_levels([10 * (k + 1) for k in range(len(LEVELS))], [0.1] * len(LEVELS), limit=0.5)
    only = result.model_copy(
        update={"objectives": [each for each in result.objectives if each.stage == result.stages[0].name]}
    )
    found = saturation(only)
    assert found is not None
    assert (found.low, found.high) == (found.loads[0], found.loads[0])


# --- one run of it ----------------------------------------------------------------------------------------------------


def test_another_target_is_other_work() -> None:
    recipe = a_recipe()
    hashes = {cells_of(recipe, [], target)[0].hash for target in (None, "sim", "http://127.0.0.1:9")}
    assert len(hashes) == 3


def test_what_an_engines_file_says_of_tokens_and_certificates_goes_along(tmp_path: Path) -> None:
    file = tmp_path / "engines.yaml"
    file.write_text(
        "schemaVersion: engines/v1\nengines:\n  - {name: far, engine: vllm, url: 'https://h', model: m, tokenEnv: TOK, insecureSkipTLSVerify: true}\n"
    )
    (cell,) = cells_of(a_recipe(vary={"clients": [1], "engines": ["far"]}), connections(file, {}))
    assert cell.manifest["spec"]["target"]["insecureSkipTLSVerify"] is True
    assert cell.connection is not None
    assert _flags(cell, None).token_env == "TOK"
    assert _flags(cell, "sim").token_env is None
    assert "TOK" not in json.dumps(cell.manifest)


@pytest.mark.parametrize(
    "changes",
    [
        {"vary": {"clients": [1], "models": ["模型"]}, "name": "x"},
        {"spec": {"target": {"engine": "vllm", "model": "m", "endpoint": {"url": "http://h:1"}}, "rerunOutliers": True, "repetitions": 5}},
    ],
)  # fmt: skip
def test_a_run_that_is_none_is_said(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="the recipe's run"):
        cells(**changes)


def test_signals_are_whose_they_were_when_a_run_is_over(tmp_path: Path) -> None:
    """Else Ctrl-C between two runs of a sweep is heard by one that is over."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert tokenmark("run", "--target", "http://127.0.0.1:1", "--model", "m", "--quiet", "--out", str(tmp_path)) == 5
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
