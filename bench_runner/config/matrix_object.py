"""A BenchmarkMatrix of a cluster, with the results of its runs -> what its report is made of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tokenmark_decisions.matrix_asked import DEPTH, asked_cells
from tokenmark_decisions.matrix_cells import Cell
from tokenmark_schemas.documents import load_documents, parse, read_profiles
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.kube import ConfigMapKey
from tokenmark_schemas.matrix import CellState, ServerFacts
from tokenmark_schemas.matrix_object import BenchmarkMatrix, CellPhase, MatrixCell, MatrixSpec, MatrixStatus
from tokenmark_schemas.profiles import Profile, ProfilesFile
from tokenmark_schemas.result import RunResult

from ..reports.matrix_rows import About, Standing, settings_of
from ..storage import cluster
from .sources import find_result

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
    "target_image",
    "target_limits",
)


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
    document, node = load_documents(text, where)[0]
    found = parse(document, node, where)
    if not isinstance(found, ProfilesFile):
        raise InvalidInput(f"{where} is no file of profiles (profiles/v1)")
    return found.profiles


def _standing(namespace: str, cell: Cell, row: MatrixCell | None, servers: dict[int, ServerFacts]) -> Standing:
    if row is None:
        return Standing(cell, "waiting")
    server = servers.get(row.server) if row.server is not None else None
    if row.state != "Measured":
        return Standing(cell, STATES[row.state], row.message or row.reason, server)
    try:
        return Standing(cell, "done", None, server, find_result(f"{namespace}/{row.run}"))
    except InvalidInput as exc:
        print(f"left out: {exc}", file=sys.stderr)
        return Standing(cell, "failed", "it was measured, and its result is gone", server)


def _facts(server: Any) -> ServerFacts:
    said = {name: getattr(server, name) for name in ("model", "quantization", "context", "streams", "way")}
    loaded = server.load_milliseconds
    return ServerFacts(**said, load_s=None if loaded is None else loaded / 1000)


def _about(
    cells: Sequence[Cell], standings: Sequence[Standing], spec: MatrixSpec, status: MatrixStatus, servers: Sequence[ServerFacts]
) -> About:  # fmt: skip
    results = [each.result for each in standings if each.result is not None]
    said = {
        **settings_of(cells),
        "image": spec.server.execution.image or "",
        "args": " ".join(spec.server.args) or "none",
    }
    return About(
        id=status.matrix_id or "", depth=DEPTH[spec.depth], started_at=status.start_time or "", ended_at=status.completion_time or "",
        interrupted=status.completion_time is None, settings=said, machine=_machine(results), limits=spec.limits.of_matrix(), servers=servers,
    )  # fmt: skip


def _machine(results: Sequence[RunResult]) -> dict[str, str]:
    """Where its servers ran, as far as their runs know."""
    if not results:
        return {}
    known, engine = results[0].provenance.environment, results[0].provenance.engine
    found = {name: known[name] for name in PLACE if known.get(name)}
    return {**found, **({"engine_version": engine.version} if engine.version else {})}
