"""A matrix of this machine as it stands -> what its report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult

from ..load.clock import iso_now
from ..reports.matrix_rows import About, Drift, Standing, drift_of, settings_of
from ..storage.request_log import read_rows
from .launch import WHERE, Settings
from .matrix import Matrix


def standings_of(whole: Matrix) -> list[Standing]:
    """Of a matrix of this machine, whole or not."""
    found = []
    for cell in whole.cells:
        entry, result = whole.entries[cell.name], whole.result_of(cell)
        drift = _drift(whole.runs / cell.name) if result is not None and entry.state == "done" else None
        code = whole.code_of(cell) if cell.profile.kind == "code" else None
        found.append(Standing(cell, entry.state, entry.reason, whole.server_of(cell), result, drift, code))
    return found


def about(
    whole: Matrix, standings: Sequence[Standing], depth: str, settings: Settings, began: str, without_template: Sequence[str]
) -> About:  # fmt: skip
    machine = next((found for each in standings if (found := _machine(each.result))), {})
    said = {"server": WHERE[whole.engine][0], **settings_of(whole.cells), "batch": str(settings.batch or "default")}
    return About(
        whole.folder.name, depth, began, iso_now(), whole.interrupted, said, machine, whole.limits, whole.servers, without_template
    )  # fmt: skip


def _drift(run: Path) -> Drift | None:
    try:
        return drift_of(read_rows(run / "requests.jsonl.gz"))
    except (OSError, InvalidInput):
        return None


def _machine(result: RunResult | None) -> dict[str, str]:
    """What the run says of it."""
    if result is None:
        return {}
    known = result.provenance.environment
    found = {name: known[name] for name in ("client_cpu_model", "client_cpus", "gpu_model") if known.get(name)}
    memory = next(
        (s.resources.host.memory_total_bytes for s in result.stages if s.resources and s.resources.host), None
    )
    version = {"engine_version": result.provenance.engine.version} if result.provenance.engine.version else {}
    return {**found, **({"memory_gb": f"{memory / 1e9:.0f}"} if memory else {}), **version}
