"""`tokenmark translate DIR`: what other tools would have printed for a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from tokenmark_schemas.errors import InvalidInput

from ..storage.request_log import read_rows


def translate(
    run: Path = typer.Argument(..., help="A run's folder, or its requests.jsonl.gz."),
    stage: str | None = typer.Option(None, help="One stage; all if unsaid."),
    format: str = typer.Option("table", help="table or json."),
) -> None:
    """Show a run under the definitions of vLLM bench, GuideLLM, AIPerf, inference-perf, llmperf and MLPerf."""
    if format not in ("table", "json"):
        raise InvalidInput(f"--format {format}: choose table or json")
    from ..formats.translate import translate as under_each

    path = run / "requests.jsonl.gz" if run.is_dir() else run
    rows = _read(path)
    if any("operation" in row for row in rows):
        raise InvalidInput(f"{path} holds calls to a database, which no other tool's words are for")
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    if stage is not None and stage not in stages:
        raise InvalidInput(f"--stage {stage}: the run has {', '.join(stages) or 'no stages'}")
    found = {name: under_each(rows, name) for name in stages if stage in (None, name)}
    if format == "json":
        print(json.dumps({name: [_document(t) for t in table] for name, table in found.items()}, indent=2))
        return
    for name, table in found.items():
        _show(name, table)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        return list(read_rows(path))
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist; give a run's folder, such as results/demo") from None
    except (OSError, ValueError) as exc:
        raise InvalidInput(f"{path} is no request log: {exc}") from exc


def _document(found: Any) -> dict[str, Any]:
    row = found.row
    return {"tool": row.tool, "word": row.word, "ours": row.ours, "formula": row.formula, "source": row.source,
            "p50_s": found.p50_s, "p99_s": found.p99_s, "count": found.count}  # fmt: skip


def _show(stage: str, table: list[Any]) -> None:
    from ..reports.units import seconds

    print(f"\nstage {stage}\n{'':16}{'prints as':20}{'p50':>9}{'p99':>9}  formula")
    tool = ""
    for found in table:
        row = found.row
        shown = (seconds(found.p50_s), seconds(found.p99_s)) if found.count else ("–", "–")
        print(f"{row.tool if row.tool != tool else '':16}{row.word:20}{shown[0]:>9}{shown[1]:>9}  {row.formula}")
        tool = row.tool
    if any(found.row.needs_chunks and not found.count for found in table):
        print("–: needs the time of every chunk; run with --detail chunks")
