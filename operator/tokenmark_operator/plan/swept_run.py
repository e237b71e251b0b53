"""BenchmarkSweep and one of its cells -> the BenchmarkRun (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.sweep_cells import Cell, as_name
from tokenmark_schemas.sweep import BenchmarkSweep

from .made_run import fitting, made_run


def run_name(sweep: str, cell: Cell) -> str:
    """Sweep and cell, where both have room; else the sweep and what tells the cell from all others."""
    said = sweep if cell.name == as_name(sweep) else f"{sweep}-{cell.name}"
    return fitting(said, sweep, cell.hash)


def plan_swept_run(sweep: BenchmarkSweep, cell: Cell, name: str) -> dict[str, Any]:
    meta = sweep.spec.template.metadata
    return made_run("BenchmarkSweep", sweep.metadata, name, cell.spec, meta.labels, meta.annotations)
