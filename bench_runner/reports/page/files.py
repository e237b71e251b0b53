"""A report's files: report.html, report.md, summary.json, metrics.csv; of several runs, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmark_schemas.result import RunResult

from ...formats.tables import metrics_csv
from .curves import curves_of
from .figures import Cell, Figure, Reader, Section, Table
from .html import page
from .sections import sections_of

WORST = ("invalid", "unknown", "degraded", "valid")
SIDE_BY_SIDE = (
    ("TTFT p50", "metrics.ttft.p50", "seconds"), ("TTFT p99", "metrics.ttft.p99", "seconds"), ("TPOT p50", "metrics.tpot.p50", "seconds"),
    ("E2E p50", "metrics.e2e.p50", "seconds"), ("Output tokens/s", "throughput.output_tokens_per_s", "rate"),
)  # fmt: skip
SIDE_BY_SIDE_CALLS = (
    ("E2E p50", "metrics.e2e.p50", "seconds"), ("E2E p99", "metrics.e2e.p99", "seconds"), ("Calls/s", "throughput.requests_per_s", "rate"),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A result and, where it lies beside it, its request log."""

    source: str
    result: RunResult
    log: Path | None = None


def report_files(runs: Sequence[Run]) -> dict[str, str]:
    """Text by file name."""
    sections = _sections(runs)
    return {
        "report.html": _page(runs, sections),
        "report.md": markdown(_title(runs), _worst(runs), _subtitle(runs), sections),
        "summary.json": json.dumps(
            [summary_of(run) for run in runs] if len(runs) > 1 else summary_of(runs[0]), indent=2
        )
        + "\n",
        "metrics.csv": metrics_csv([run.result for run in runs]),
    }


def report_page(runs: Sequence[Run]) -> str:
    """The page alone."""
    return _page(runs, _sections(runs))


def _page(runs: Sequence[Run], sections: Sequence[Section]) -> str:
    return page(_title(runs), _worst(runs), _subtitle(runs), sections, [_drawn(run) for run in runs])


def _sections(runs: Sequence[Run]) -> list[Section]:
    return sections_of(runs[0].result) if len(runs) == 1 else [*_side_by_side(runs), *_each(runs)]


def _title(runs: Sequence[Run]) -> str:
    return " · ".join(run.result.run.name for run in runs)


def _worst(runs: Sequence[Run]) -> str:
    return next(word for word in WORST if any(run.result.verdict.state == word for run in runs))


def _subtitle(runs: Sequence[Run]) -> str:
    first = runs[0].result
    env = first.provenance.environment
    place = (
        [env.get("provider"), env.get("region"), env.get("node_instance_type")]
        if len(runs) == 1
        else [f"{len(runs)} runs"]
    )
    words = [
        first.provenance.engine.name,
        first.provenance.engine.reported_model,
        first.provenance.workload.name,
        *place,
    ]
    return " · ".join(word for word in words if word)


def _drawn(run: Run) -> dict[str, Any]:
    """What the page's charts need."""
    stages = curves_of(run.result, run.log)
    for found, stage in zip(stages, run.result.stages, strict=True):
        ttft, tpot = stage.metrics["ttft"], stage.metrics["tpot"]
        found["figures"] = {
            "ttft_p50": ttft.p50,
            "ttft_p99": ttft.p99,
            "tpot_p50": tpot.p50,
            "e2e_p50": stage.metrics["e2e"].p50,
            "e2e_p99": stage.metrics["e2e"].p99,
            "requests": stage.throughput.requests_per_s,
            "tokens": stage.throughput.output_tokens_per_s,
        }
    return {"name": run.result.run.name, "stages": stages}


def _side_by_side(runs: Sequence[Run]) -> list[Section]:
    """Rows are stages and metrics, columns runs."""
    readers = [Reader(run.result.snake(), k) for k, run in enumerate(runs)]
    places = [{stage.name: k for k, stage in enumerate(run.result.stages)} for run in runs]
    names = list(dict.fromkeys(name for place in places for name in place))
    rows: list[Sequence[Cell]] = [("", "Verdict", *(read("verdict.state") for read in readers))]
    calls = all(run.result.database is not None for run in runs)
    for name in names:
        for title, path, kind in SIDE_BY_SIDE_CALLS if calls else SIDE_BY_SIDE:
            found = [
                read(f"stages[{place[name]}].{path}", kind) if name in place else "–"
                for read, place in zip(readers, places, strict=True)
            ]
            rows.append((name, title, *found))
    works = {run.result.provenance.fingerprint for run in runs}
    lines = (
        []
        if len(works) == 1
        else ["These runs are not the same work: their fingerprints differ. tokenmark compare names the fields."]
    )
    heads = ("Stage", "Metric", *(run.result.run.name for run in runs))
    return [
        Section("side-by-side", "Side by side", lines, [Table(heads, rows)], charts=("load", "pareto", "percentiles"))
    ]


def _each(runs: Sequence[Run]) -> list[Section]:
    found = []
    for k, run in enumerate(runs):
        for section in sections_of(run.result, k):
            title = f"{run.result.run.name}: {section.title}"
            found.append(Section(f"run{k}-{section.id}", title, section.lines, section.tables, (), section.code))
    return found


def summary_of(run: Run) -> dict[str, Any]:
    """The result without what is long: repetitions, and the fields that the fingerprint is made of."""
    document = run.result.snake()
    for stage in document["stages"]:
        stage.pop("repetitions", None)
    document["provenance"].pop("fingerprint_fields", None)
    return {"source": run.source, **document}


def markdown(title: str, verdict: str, subtitle: str, sections: Sequence[Section]) -> str:
    out = [f"# {title}", "", f"**{verdict}** · {subtitle}", ""]
    for section in sections:
        out += [f"## {section.title}", ""]
        out += [f"- {_plain(line)}" for line in section.lines]
        out += [f"\n```sh\n{text}\n```" for text in section.code]
        for table in section.tables:
            out += ["", "| " + " | ".join(table.heads) + " |", "|" + "---|" * len(table.heads)]
            out += ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in table.rows]
            out += ["", table.caption] if table.caption else []
        out.append("")
    return "\n".join(out)


def _plain(cell: Cell) -> str:
    text = cell.text if isinstance(cell, Figure) else cell
    return text.replace("|", "\\|").replace("\n", " ")
