"""BenchmarkMatrix and one of its cells -> the BenchmarkRun on the server that is up (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.matrix_cells import Cell
from tokenmark_schemas.kube import API_VERSION
from tokenmark_schemas.matrix_object import BenchmarkMatrix

from . import names
from .swept_run import LONGEST_NAME


def cell_run_name(matrix: str, cell: Cell) -> str:
    """Matrix and cell, where both have room; else the matrix and what tells the cell from all others."""
    said = f"{matrix}-{cell.name}"
    return said if len(said) <= LONGEST_NAME else f"{matrix}-{cell.hash[:10]}"


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
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkRun",
        "metadata": {
            "name": cell_run_name(meta.name, cell),
            "labels": {**(runs.metadata.labels or {}), **names.labels("BenchmarkMatrix", meta)},
            "annotations": dict(runs.metadata.annotations or {}),
            "ownerReferences": [names.owner("BenchmarkMatrix", meta)],
        },
        "spec": spec,
    }
