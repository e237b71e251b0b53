"""Requests of several runs as a table of 80 columns, a line a run and stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from ..stats.summary import enough_for, percentile
from .units import seconds


def request_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    groups: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        group = groups.setdefault((row["run"], row["stage"]), {"ttft_s": [], "tpot_s": [], "failed": []})
        group["failed"].append(float(row["error"] is not None))
        for name in ("ttft_s", "tpot_s"):
            if row[name] is not None:
                group[name].append(row[name])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("run", "stage", "requests", "failed", "TTFT p50", "p99", "TPOT p50", "p99"):
        table.add_column(head, justify="left" if head in ("run", "stage") else "right", overflow="fold")
    for (run, stage), group in groups.items():
        shown = [_quantile(group[name], q) for name in ("ttft_s", "tpot_s") for q in (0.5, 0.99)]
        table.add_row(run, stage, str(len(group["failed"])), f"{sum(group['failed']):.0f}", *shown)
    return table


def _quantile(values: list[float], q: float) -> str:
    return seconds(percentile(sorted(values), q)) if enough_for(len(values), q) else "–"
