"""A recipe -> the runs that it stands for, each a manifest of its own that can be applied or run again by itself (pure). A manifest of a
BenchmarkSweep is a recipe too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenmark_decisions.sweep_cells import Asked, asked_of, cells
from tokenmark_decisions.sweep_cells import sweep_id as id_of
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.documents import read_models
from tokenmark_schemas.engines import EngineConnection
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.kube import API_VERSION
from tokenmark_schemas.problems import problems_of
from tokenmark_schemas.recipe import Recipe
from tokenmark_schemas.sweep import BenchmarkSweep

from .connections import named

MOST_RUNS = 500


@dataclass(frozen=True)
class Cell:
    """One run: what varies, and its manifest. `hash` is of what it asks for; it stands in the result as label `cell`. `connection` has
    what no manifest may hold of an engine of this machine: the token's variable and certificates."""

    name: str
    engine: str
    model: str
    workload: str
    hash: str
    manifest: dict[str, Any]
    connection: EngineConnection | None


def read_recipe(path: Path) -> Recipe:
    """Of a recipe's file, or of a BenchmarkSweep's manifest. Raises InvalidInput where it is neither."""
    found = read_models(path)[0]
    if isinstance(found, BenchmarkSweep):
        return found.as_recipe()
    if not isinstance(found, Recipe):
        raise InvalidInput(f"{path} is no recipe; it needs schemaVersion: recipe/v1, or kind: BenchmarkSweep")
    return found


def sweep_id(recipe: Recipe) -> str:
    """The same recipe has the same id, so that a sweep is found again."""
    return id_of(recipe.name, recipe, recipe.spec.camel())


def cells_of(recipe: Recipe, connections: Sequence[EngineConnection], target: str | None = None) -> list[Cell]:
    """In the order in which they are run. `target` is asked in the place of the recipe's. Raises InvalidInput for an engine that is not
    known, and for a run that is none."""
    engines = {name: named(list(connections), name) for name in recipe.vary.engines}
    asked = [Asked(name, _target(engine)) for name, engine in engines.items()] or asked_of(recipe)
    found = cells(recipe.name, recipe, recipe.spec.camel(), asked, most=MOST_RUNS, salt=target)
    return [_cell(cell.name, cell.asked, cell.hash, cell.spec, engines.get(cell.asked or "")) for cell in found]


def _target(engine: EngineConnection) -> dict[str, Any]:
    """As a manifest has it."""
    target: dict[str, Any] = {"engine": engine.engine, "endpoint": {"url": engine.url}}
    if engine.model:
        target["model"] = engine.model
    if engine.insecure_skip_tls_verify:
        target["insecureSkipTLSVerify"] = True
    return target


def _cell(name: str, asked: str | None, digest: str, spec: dict[str, Any], engine: EngineConnection | None) -> Cell:
    manifest = {"apiVersion": API_VERSION, "kind": "BenchmarkRun", "metadata": {"name": name}, "spec": spec}
    try:
        checked = BenchmarkRun.model_validate(manifest).spec
    except ValidationError as exc:
        said = "\n".join(map(str, problems_of(exc, BenchmarkRun)))
        raise InvalidInput(f"the recipe's run {name!r} is none:\n{said}") from exc
    workload = checked.workload_ref.name if checked.workload_ref else "inline" if checked.workload else "smoke"
    return Cell(
        name, asked or checked.target.engine, checked.target.called, workload or "file", digest, manifest, engine
    )
