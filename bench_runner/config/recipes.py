"""A recipe -> the runs that it stands for, each a manifest of its own that can be applied or run again by itself (pure)."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.database import Index
from tokenmark_schemas.documents import read_model
from tokenmark_schemas.engines import EngineConnection
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.problems import problems_of
from tokenmark_schemas.recipe import Recipe
from tokenmark_schemas.workload import canonical_json

from .connections import named

MOST_RUNS = 500


@dataclass(frozen=True)
class Cell:
    """One run: what varies, and its manifest. `hash` is of what it asks for; it stands in the result as label `cell`, so that a result of an
    earlier recipe, or of another target, is not taken for this one's. `connection` has what no manifest may hold of an engine of this
    machine: the token's variable and certificates."""

    name: str
    engine: str
    model: str
    workload: str
    hash: str
    manifest: dict[str, Any]
    connection: EngineConnection | None


def read_recipe(path: Path) -> Recipe:
    """Raises InvalidInput where it is none."""
    return read_model(path, Recipe, "recipe", "recipe/v1")


def sweep_id(recipe: Recipe) -> str:
    """The same recipe has the same id, so that a sweep is found again."""
    return f"{recipe.name}-{hashlib.sha256(canonical_json(recipe.snake())).hexdigest()[:8]}"


def cells_of(recipe: Recipe, connections: Sequence[EngineConnection], target: str | None = None) -> list[Cell]:
    """In the order in which they are run: shuffled by the seed, for what drifts must not look like an engine's doing. `target` is asked in
    the place of the recipe's. Raises InvalidInput for an engine that is not known, and for a run that is none."""
    vary, base = recipe.vary, recipe.spec.camel()
    engines: list[EngineConnection | None] = [named(list(connections), name) for name in vary.engines] or [None]
    models: list[str | None] = [*vary.models] or [None]
    workloads: list[str | None] = [*vary.workloads] or [None]
    indexes: list[Index | None] = [*vary.indexes] or [None]
    found = [_cell(recipe, base, target, *each) for each in product(engines, models, workloads, indexes)]
    if len(found) > MOST_RUNS:
        raise InvalidInput(f"the recipe stands for {len(found)} runs; {MOST_RUNS} are the most")
    names = [cell.name for cell in found]
    if len(set(names)) < len(names):
        raise InvalidInput(
            f"runs of the recipe would have one name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}"
        )
    random.Random(f"sweep:{recipe.seed}").shuffle(found)
    return found


def _cell(
    recipe: Recipe,
    base: dict[str, Any],
    instead: str | None,
    engine: EngineConnection | None,
    model: str | None,
    workload: str | None,
    index: Index | None,
) -> Cell:
    target = dict(base["target"])
    if engine is not None:
        target.pop("serviceRef", None)
        target |= {"engine": engine.engine, "endpoint": {"url": engine.url}}
        if engine.model:
            target["model"] = engine.model
        if engine.insecure_skip_tls_verify:
            target["insecureSkipTLSVerify"] = True
    if model is not None:
        target["model"] = model
    spec = {
        **base, "target": target, "stages": [_stage(recipe, level) for level in (recipe.vary.clients or recipe.vary.rates)],
        "repetitions": recipe.repetitions, "cooldownSeconds": recipe.cooldown_seconds, "seed": recipe.seed,
    }  # fmt: skip
    if workload is not None:
        spec["workloadRef"] = {"name": workload}
    if index is not None:
        spec["database"] = {**spec.get("database", {}), "index": index.camel()}
    if recipe.purpose:
        spec["purpose"] = recipe.purpose
    environment = dict(spec.get("environment") or {})
    identity = hashlib.sha256(canonical_json([spec, instead] if instead else spec)).hexdigest()[:12]
    environment["labels"] = {**environment.get("labels", {}), "sweep": sweep_id(recipe), "cell": identity}
    spec["environment"] = environment
    parts = [engine.name if engine else None, model, workload, _indexed(index)]
    name = _name("-".join(filter(None, parts)) or recipe.name)
    manifest = {
        "apiVersion": "tokenmark.dev/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {"name": name},
        "spec": spec,
    }
    try:
        checked = BenchmarkRun.model_validate(manifest).spec
    except ValidationError as exc:
        raise InvalidInput(
            f"the recipe's run {name!r} is none:\n" + "\n".join(map(str, problems_of(exc, BenchmarkRun)))
        ) from exc
    said = checked.workload_ref.name if checked.workload_ref else "inline" if checked.workload else "smoke"
    return Cell(
        name,
        engine.name if engine else target["engine"],
        checked.target.called,
        said or "file",
        identity,
        manifest,
        engine,
    )


def _stage(recipe: Recipe, level: int | str) -> dict[str, Any]:
    each = {key: value for key, value in recipe.each.camel().items() if value is not None}
    if isinstance(level, int):
        return {"name": f"c{level}", "concurrency": level, **each}
    return {"name": "r" + level.replace(".", "-"), "requestRate": level, **each}


def _indexed(index: Index | None) -> str | None:
    if index is None:
        return None
    return "flat" if index.kind == "Flat" else f"m{index.m}-ef{index.ef_construction}-{index.ef_search}"


def _name(text: str) -> str:
    """As runs are called."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-")
