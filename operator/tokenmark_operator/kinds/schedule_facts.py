"""The facts of one BenchmarkSchedule."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..core.kube import RUNS
from ..plan import names
from ..shared.facts import Key, ScheduleFacts
from .sources import Sources


async def gather_schedule(sources: Sources, cr: dict[str, Any], _key: Key) -> ScheduleFacts:
    """Raises ApiError, ClusterUnavailable."""
    meta = cr["metadata"]
    listed = await sources.kube.list(RUNS, meta["namespace"], names.children_selector(meta["uid"]))
    runs = [run for run in listed if not run["metadata"].get("deletionTimestamp")]
    return ScheduleFacts(
        cr=cr,
        now=datetime.now(UTC),
        settings=sources.settings,
        runs=runs,
        refused=sources.refusals.pop(meta["uid"], None),
    )
