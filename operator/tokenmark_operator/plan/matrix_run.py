"""BenchmarkMatrix and one of its cells -> the BenchmarkRun on the server that is up (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.matrix_cells import Cell
from tokenmark_schemas.matrix_object import BenchmarkMatrix

from . import names
from .made_run import fitting, made_run


def cell_run_name(matrix: str, cell: Cell) -> str:
    """Matrix and cell, where both have room; else the matrix and what tells the cell from all others."""
    return fitting(f"{matrix}-{cell.name}", matrix, cell.hash)


def plan_cell_run(matrix: BenchmarkMatrix, cell: Cell, number: int) -> dict[str, Any]:
    """`number` is of its server."""
    meta, runs = matrix.metadata, matrix.spec.runs
    said = runs.environment.camel()
    environment = {**said, "labels": {**said.get("labels", {}), **cell.spec["environment"]["labels"]}}
    service = {"name": names.server_name(meta.name, number), "port": matrix.spec.server.port}
    spec = {
        **cell.spec, "target": {**cell.spec["target"], "serviceRef": service}, "environment": environment,
        "execution": runs.execution.camel(), "results": runs.results.camel(),
        **({"cost": runs.cost.camel()} if runs.cost else {}),
    }  # fmt: skip
    name, given = cell_run_name(meta.name, cell), runs.metadata
    return made_run("BenchmarkMatrix", meta, name, spec, given.labels, given.annotations)
