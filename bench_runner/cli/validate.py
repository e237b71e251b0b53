"""`tokenmark validate`: check files of any kind we know, pointing at line and field."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from pydantic import BaseModel

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.documents import load_documents, parse, read_text, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.netprobe import NetProbe
from tokenmark_schemas.support import unsupported_probe, unsupported_run


def validate(
    files: list[Path] = typer.Argument(help="BenchmarkRun, NetProbe, workload, run config or result files."),
) -> None:
    """Check BenchmarkRun, NetProbe, workload, config and result files."""
    bad = 0
    for path in files:
        try:
            for document, node in load_documents(read_text(path), str(path)):
                model = parse(document, node, str(path))
                for problem in _beyond_the_schema(model):
                    raise InvalidInput(f"{path}: {problem}")
                print(f"{path}: {type(model).__name__} is valid")
        except InvalidInput as exc:
            bad += 1
            print(exc, file=sys.stderr)
    if bad:
        raise typer.Exit(2)


def _beyond_the_schema(model: BaseModel) -> list[str]:
    """What a well-formed document asks for that is not there: a workload by name, or what this version cannot do."""
    missing: list[str] = []
    if isinstance(model, NetProbe):
        missing = unsupported_probe(model.spec)
    if isinstance(model, BenchmarkRun):
        ref = model.spec.workload_ref
        try:
            known = read_workload(ref.name if ref and ref.name else "smoke")
        except InvalidInput as exc:
            return [f"spec.workloadRef.name: {exc}"]
        work = model.spec.workload or known
        missing = unsupported_run(model.spec, work, model.spec.stages or known.stages, in_cluster=True)
    return ["not supported by this version yet: " + "; ".join(missing)] if missing else []
