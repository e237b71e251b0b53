"""A BenchmarkMatrix of a cluster, with the results of its runs -> what its report is made of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tokenmark_decisions.matrix_asked import DEPTH, asked_cells, object_id
from tokenmark_decisions.matrix_cells import Cell
from tokenmark_schemas.documents import parse_profiles, read_profiles
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.kube import ConfigMapKey
from tokenmark_schemas.matrix import CellState, ServerFacts
from tokenmark_schemas.matrix_object import (
    CODE_RESULT_KEY,
    BenchmarkMatrix,
    CellPhase,
    MatrixCell,
    MatrixSpec,
    MatrixStatus,
    code_result_name,
)
from tokenmark_schemas.profiles import Profile
from tokenmark_schemas.quality import CodeResult
from tokenmark_schemas.result import RunResult

from ..load.clock import iso_now
from ..reports.matrix_rows import About, Standing, settings_of
from ..storage import cluster
from .sources import result_in_cluster

STATES: dict[CellPhase, CellState] = {
    "Waiting": "waiting", "Running": "running", "Measured": "done", "Failed": "failed", "Skipped": "skipped",
}  # fmt: skip
PLACE = (
    "provider",
    "region",
    "cluster_label",
    "instance_type",
    "accelerator",
    "gpu_model",
    "target_node",
    "engine_version",
)
ALIKE = (
    "provider",
    "region",
    "instance_type",
    "accelerator",
    "gpu_model",
    "engine_version",
)  # else speeds are not of one machine


def matrix_of_cluster(namespace: str, name: str) -> tuple[list[Standing], About]:
    """Raises InvalidInput where there is none, or none has begun."""
    source = f"{namespace}/{name}"
    body = cluster.get(namespace, "benchmarkmatrix", name)
    if body is None:
        raise InvalidInput(f"{source} is no folder, and no BenchmarkMatrix of the cluster that kubectl speaks to")
    spec, status = _read(body, source)
    if status.matrix_id is None or not status.cells:
        raise InvalidInput(f"{source} has not begun; see kubectl -n {namespace} describe benchmarkmatrix {name}")
    cells = asked_cells(spec, _profiles(namespace, spec.profiles_ref))
    if status.matrix_id != object_id(name, cells):
        raise InvalidInput(
            f"{source} was made of other profiles than there are now, in its ConfigMap or in this version: its runs would be told as what they are not"
        )
    rows = {row.name: row for row in status.cells}
    servers = {each.number: _facts(each) for each in status.servers}
    found = [_standing(namespace, cell, rows.get(cell.name), servers) for cell in cells]
    return found, _about(cells, found, spec, status, list(servers.values()))


def _read(body: dict[str, Any], source: str) -> tuple[MatrixSpec, MatrixStatus]:
    told = {part: body.get(part) for part in ("apiVersion", "kind", "metadata", "spec")}
    try:
        spec = BenchmarkMatrix.model_validate(told, extra="ignore").spec
        return spec, MatrixStatus.model_validate(body.get("status") or {}, extra="ignore")
    except ValidationError:
        raise InvalidInput(f"{source} cannot be read by this version; is the operator newer?") from None


def _profiles(namespace: str, ref: ConfigMapKey | None) -> Sequence[Profile]:
    if ref is None:
        return read_profiles(None).profiles
    held = cluster.get(namespace, "configmap", ref.name)
    text = ((held or {}).get("data") or {}).get(ref.key)
    where = f"ConfigMap {ref.name}, key {ref.key}"
    if text is None:
        raise InvalidInput(f"{where} of its profiles is gone")
    return parse_profiles(text, where).profiles


def _standing(namespace: str, cell: Cell, row: MatrixCell | None, servers: dict[int, ServerFacts]) -> Standing:
    if row is None:
        return Standing(cell, "waiting")
    server = servers.get(row.server) if row.server is not None else None
    if row.state != "Measured":
        return Standing(cell, STATES[row.state], row.message or row.reason, server)
    try:
        if cell.profile.kind == "code":
            return Standing(cell, "done", None, server, code=_code(namespace, row.run, cell))
        return Standing(cell, "done", None, server, result_in_cluster(namespace, row.run))
    except InvalidInput as exc:
        print(f"left out: {exc}", file=sys.stderr)
        return Standing(cell, "failed", "it was measured, and its result is gone", server)


def _code(namespace: str, run: str, cell: Cell) -> CodeResult:
    """Raises InvalidInput where it is gone, or of another cell."""
    name = code_result_name(run)
    held = cluster.get(namespace, "configmap", name)
    try:
        found = CodeResult.model_validate_json((held or {}).get("data", {}).get(CODE_RESULT_KEY, ""), extra="ignore")
    except ValidationError:
        raise InvalidInput(f"ConfigMap {name} of {namespace} is gone, or holds no result of code") from None
    if found.cell != cell.hash:
        raise InvalidInput(f"ConfigMap {name} of {namespace} is of another cell than {cell.name}")
    return found


def _facts(server: Any) -> ServerFacts:
    said = {name: getattr(server, name) for name in ("model", "quantization", "context", "streams", "way")}
    loaded = server.load_milliseconds
    return ServerFacts(**said, load_s=None if loaded is None else loaded / 1000)


def _about(
    cells: Sequence[Cell], standings: Sequence[Standing], spec: MatrixSpec, status: MatrixStatus, servers: Sequence[ServerFacts]
) -> About:  # fmt: skip
    machine = _machine([each.result for each in standings if each.result is not None])
    apart = [f"{name} {machine[name]}" for name in ALIKE if ", " in machine.get(name, "")]
    warning = (
        [f"its servers ran on different machines, and what is faster may be the machine: {'; '.join(apart)}"]
        if apart
        else []
    )
    said = {
        **settings_of(cells),
        "image": spec.server.execution.image or "",
        "args": " ".join(spec.server.args) or "none",
    }
    return About(
        id=status.matrix_id or "", depth=DEPTH[spec.depth], started_at=status.start_time or iso_now(), ended_at=status.completion_time or iso_now(),
        interrupted=status.completion_time is None, settings=said, machine=machine, limits=spec.limits.of_matrix(), servers=servers,
        warnings=warning,
    )  # fmt: skip


def _machine(results: Sequence[RunResult]) -> dict[str, str]:
    """Where its servers ran, as far as their runs know; several where they ran on several."""
    known = [
        {**each.provenance.environment, "engine_version": each.provenance.engine.version or ""} for each in results
    ]
    values = {name: dict.fromkeys(each[name] for each in known if each.get(name)) for name in PLACE}
    return {name: ", ".join(found) for name, found in values.items() if found}
