"""The facts of one BenchmarkSweep: its runs, and what those found that are over and not yet in its status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..shared.facts import Key, SweepFacts
from .sources import Sources


async def gather_sweep(sources: Sources, cr: dict[str, Any], _key: Key) -> SweepFacts:
    """Raises ApiError, ClusterUnavailable."""
    meta, known = cr["metadata"], (cr.get("status") or {}).get("runs") or []
    told = {row["run"] for row in known if row.get("state") in ("Measured", "Failed")}
    runs, results = await sources.runs_of(meta["namespace"], meta["uid"], told)
    return SweepFacts(
        cr=cr,
        now=datetime.now(UTC),
        settings=sources.settings,
        runs=runs,
        results=results,
        refused=sources.refusals.pop(meta["uid"], None),
    )
