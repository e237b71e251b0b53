"""BenchmarkSweeps -> samples. What its runs found is shown with the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

from prometheus_client.core import Metric

from tokenmark_schemas.sweep import RunState

from .families import gauge


def sweep_metrics(sweeps: list[dict[str, Any]]) -> Iterator[Metric]:
    runs = gauge("tokenmark_sweep_runs", "Its runs by state.", ("sweep", "sweep_namespace", "state"))
    for cr in sweeps:
        rows = (cr.get("status") or {}).get("runs") or []
        counted = Counter(row.get("state") for row in rows)
        for state in get_args(RunState):
            runs.add_metric([cr["metadata"]["name"], cr["metadata"]["namespace"], state], counted[state])
    yield runs
