"""A BenchmarkSweep of a cluster, with the results of its runs."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.sweep import SweepStatus, SweptRun

from ..storage import cluster
from .sources import result_in_cluster


def sweep_of_cluster(namespace: str, name: str) -> tuple[str, str | None, list[tuple[SweptRun, RunResult | None]]]:
    """(id, purpose, its runs in order of name). Raises InvalidInput where there is none, or none has begun."""
    source = f"{namespace}/{name}"
    body = cluster.get(namespace, "benchmarksweep", name)
    if body is None:
        raise InvalidInput(f"{source} is no file, and no BenchmarkSweep of the cluster that kubectl speaks to")
    try:
        status = SweepStatus.model_validate(body.get("status") or {}, extra="ignore")
    except ValidationError:
        raise InvalidInput(f"{source} has a status that this version cannot read; is the operator newer?") from None
    if status.sweep_id is None:
        raise InvalidInput(f"{source} has not begun; see kubectl -n {namespace} describe benchmarksweep {name}")
    rows = sorted(status.runs, key=lambda row: row.name)
    found = [(row, _result(namespace, row)) for row in rows]
    return status.sweep_id, body["spec"].get("purpose"), found


def _result(namespace: str, row: SweptRun) -> RunResult | None:
    """None of a run that was not measured, or that is gone since."""
    if row.state != "Measured":
        return None
    try:
        return result_in_cluster(namespace, row.run)
    except InvalidInput as exc:
        print(f"left out: {exc}", file=sys.stderr)
        return None
