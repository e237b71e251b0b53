"""BenchmarkSweep and one of its cells -> the BenchmarkRun (pure). Its name is made of what it asks for, so that however often it is tried
there is one.
"""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.sweep_cells import Cell, as_name
from tokenmark_schemas.kube import API_VERSION
from tokenmark_schemas.sweep import BenchmarkSweep

from . import names

LONGEST_NAME = 48


def run_name(sweep: str, cell: Cell) -> str:
    """Sweep and cell, where both have room; else the sweep and what tells the cell from all others."""
    said = sweep if cell.name == as_name(sweep) else f"{sweep}-{cell.name}"
    return said if len(said) <= LONGEST_NAME else f"{sweep}-{cell.hash[:10]}"


def plan_swept_run(sweep: BenchmarkSweep, cell: Cell, name: str) -> dict[str, Any]:
    meta = sweep.spec.template.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkRun",
        "metadata": {
            "name": name,
            "labels": {**(meta.labels or {}), **names.labels("BenchmarkSweep", sweep.metadata)},
            "annotations": dict(meta.annotations or {}),
            "ownerReferences": [names.owner("BenchmarkSweep", sweep.metadata)],
        },
        "spec": cell.spec,
    }
