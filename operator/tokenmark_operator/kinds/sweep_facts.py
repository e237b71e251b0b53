"""The facts of one BenchmarkSweep: its runs, and what those found that are over and not yet in its status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tokenmark_schemas.result import RunResult

from ..core.kube import CONFIG_MAPS, RUNS
from ..plan import names
from ..results.config_map import held_in, stored_result
from ..shared.admission import is_finished
from ..shared.facts import Key, SweepFacts
from .sources import Sources


async def gather_sweep(sources: Sources, cr: dict[str, Any], _key: Key) -> SweepFacts:
    """Raises ApiError, ClusterUnavailable."""
    meta, known = cr["metadata"], (cr.get("status") or {}).get("runs") or []
    told = {row["run"] for row in known if row.get("state") in ("Measured", "Failed")}
    listed = await sources.kube.list(RUNS, meta["namespace"], names.children_selector(meta["uid"]))
    runs = {run["metadata"]["name"]: run for run in listed}
    found = {
        name: result for name, run in runs.items()
        if is_finished(run) and name not in told and (result := await _result(sources, run)) is not None
    }  # fmt: skip
    return SweepFacts(
        cr=cr,
        now=datetime.now(UTC),
        settings=sources.settings,
        runs=runs,
        results=found,
        refused=sources.refusals.pop(meta["uid"], None),
    )


async def _result(sources: Sources, run: dict[str, Any]) -> RunResult | None:
    """What a run found, where its result lies in a ConfigMap."""
    held = held_in(run)
    config_map = await sources.kube.get(CONFIG_MAPS, run["metadata"]["namespace"], held) if held else None
    found = stored_result(config_map, run["metadata"]["uid"]) if config_map else None
    return found[0] if found else None
