"""`tokenmark validate`: check files of any kind we know, pointing at line and field."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.documents import load_documents, parse, read_text, read_workload
from tokenmark_schemas.errors import InvalidInput


def validate(
    files: list[Path] = typer.Argument(help="BenchmarkRun, NetProbe, workload, run config or result files."),
) -> None:
    """Check BenchmarkRun, NetProbe, workload, config and result files."""
    bad = 0
    for path in files:
        try:
            for document, node in load_documents(read_text(path), str(path)):
                model = parse(document, node, str(path))
                if isinstance(model, BenchmarkRun) and (ref := model.spec.workload_ref) and ref.name:
                    read_workload(ref.name)
                print(f"{path}: {type(model).__name__} is valid")
        except InvalidInput as exc:
            bad += 1
            print(exc, file=sys.stderr)
    if bad:
        raise typer.Exit(2)
