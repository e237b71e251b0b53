"""BenchmarkSweeps and BenchmarkMatrices -> samples. What their runs found is shown with the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from prometheus_client.core import Metric

from tokenmark_schemas.matrix_object import CellPhase
from tokenmark_schemas.sweep import RunState

from .families import gauge


def sweep_metrics(sweeps: list[dict[str, Any]]) -> Iterator[Metric]:
    yield _counted("tokenmark_sweep_runs", "Its runs by state.", "sweep", sweeps, "runs", get_args(RunState))


def matrix_metrics(matrices: list[dict[str, Any]]) -> Iterator[Metric]:
    yield _counted("tokenmark_matrix_cells", "Its cells by state.", "matrix", matrices, "cells", get_args(CellPhase))


def _counted(
    name: str, says: str, what: str, objects: list[dict[str, Any]], part: str, states: Sequence[str]
) -> Metric:
    family = gauge(name, says, (what, f"{what}_namespace", "state"))
    for cr in objects:
        rows = (cr.get("status") or {}).get(part) or []
        counted = Counter(row.get("state") for row in rows)
        for state in states:
            family.add_metric([cr["metadata"]["name"], cr["metadata"]["namespace"], state], counted[state])
    return family
