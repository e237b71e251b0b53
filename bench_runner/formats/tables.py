"""Results as rows for other people's tools: METRIC_COLUMNS, a row a run, stage and statistic; REQUEST_COLUMNS, a row a request.

Both are long and flat, every row complete in itself, so that files of many runs are laid end to end.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult, StageResult, Stat

from ..load.clock import NS
from ..samples.metrics import BY_ID
from ..samples.sample import Sample
from ..storage.request_log import sample_of

Row = dict[str, Any]
PIECE = 65_536  # characters
WIDE = ("count", "mean", "p50", "p90", "p95", "p99", "p999")
STATISTICS = (*WIDE[:2], "stddev", "min", "max", *WIDE[2:])
METRIC_COLUMNS = {
    "run": str, "started_at": str, "verdict": str, "provider": str, "engine": str, "model": str, "workload": str,
    "fingerprint": str, "stage": str, "concurrency": int, "request_rate": float, "metric": str, "statistic": str,
    "unit": str, "value": float,
}  # fmt: skip
RATES = (
    ("requests_per_s", "1/s"), ("output_tokens_per_s", "tokens/s"), ("total_tokens_per_s", "tokens/s"),
    ("good_output_tokens_per_s", "tokens/s"),
)  # fmt: skip


def metric_rows(result: RunResult) -> Iterator[Row]:
    """What is null has no row."""
    provenance = result.provenance
    head = {
        "run": result.run.name, "started_at": result.run.started_at, "verdict": result.verdict.state,
        "provider": provenance.environment.get("provider"), "engine": provenance.engine.name,
        "model": provenance.engine.reported_model, "workload": provenance.workload.name, "fingerprint": provenance.fingerprint,
    }  # fmt: skip
    for stage in result.stages:
        load = stage.load
        of_stage = {
            "stage": stage.name, "concurrency": load.concurrency if load else None,
            "request_rate": float(load.request_rate) if load and load.request_rate else None,
        }  # fmt: skip
        for metric, statistic, unit, value in _figures(stage):
            if value is not None:
                yield head | of_stage | {"metric": metric, "statistic": statistic, "unit": unit, "value": float(value)}


def _figures(stage: StageResult) -> Iterator[tuple[str, str, str, float | None]]:
    done = stage.requests
    for name in ("due", "sent", "succeeded", "failed", "cancelled"):
        yield "requests", name, "requests", getattr(done, name)
    yield "success_rate", "value", "ratio", done.success_rate
    yield "goodput", "value", "ratio", stage.goodput
    for name in ("prompt", "output", "cached", "reasoning") if stage.operations is None else ():
        yield "tokens", name, "tokens", getattr(stage.tokens, name)
    for name, unit in RATES:
        yield name, "value", unit, getattr(stage.throughput, name)
    for name, stat in _stats(stage):
        for statistic in STATISTICS:
            yield name, statistic, "values" if statistic == "count" else stat.unit, getattr(stat, statistic)


def _stats(stage: StageResult) -> Iterator[tuple[str, Stat]]:
    """Of all requests, and of a database's calls those of each operation: `e2e[search]`, `recall[search]`."""
    yield from stage.metrics.items()
    for each in stage.operations or []:
        yield f"e2e[{each.name}]", each.e2e
        if each.recall is not None:
            yield f"recall[{each.name}]", each.recall


def metrics_csv(results: Sequence[RunResult]) -> str:
    """A row a run, stage and metric, statistics side by side: for a person with a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "stage", "metric", "unit", *WIDE))
    for result in results:
        for stage in result.stages:
            for name, stat in _stats(stage):
                writer.writerow((result.run.name, stage.name, name, stat.unit, *_cells(getattr(stat, s) for s in WIDE)))
    return text.getvalue()


REQUEST_COLUMNS = {
    "run": str, "id": str, "stage": str, "repetition": int, "due_s": float, "send_lag_s": float, "connect_s": float,
    "ttft_s": float, "ttft_scheduled_s": float, "tpot_s": float, "e2e_s": float, "e2e_scheduled_s": float,
    "prompt_tokens": int, "output_tokens": int, "token_source": str, "chunks": int, "status": int, "error": str,
}  # fmt: skip
OF_SUCCESS = ("ttft", "ttft_scheduled", "tpot", "e2e", "e2e_scheduled")  # what a failed request is not asked for


def request_rows(run: str, log: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Of the lines of a request log, with REQUEST_COLUMNS. `due_s` counts from the first line's. Raises InvalidInput for a
    line that is none."""
    began = None
    for line in log:
        try:
            sample, chunks = sample_of(line), line["chunks"]
        except (KeyError, TypeError) as exc:
            raise InvalidInput(f"the request log of {run} has a line that is none of its own: {exc}") from None
        began = sample.due_ns if began is None else began
        failed = sample.failure is not None
        known = {f"{name}_s": None if failed else _value(name, sample) for name in OF_SUCCESS}
        found = known | {
            "run": run, "id": sample.id, "stage": sample.stage, "repetition": sample.repetition,
            "due_s": (sample.due_ns - began) / NS, "send_lag_s": _value("send_lag", sample), "connect_s": _value("connect", sample),
            "prompt_tokens": sample.prompt_tokens, "output_tokens": sample.output_tokens, "token_source": sample.token_source,
            "chunks": chunks, "status": sample.status, "error": sample.failure.kind if sample.failure else None,
        }  # fmt: skip
        yield {name: found[name] for name in REQUEST_COLUMNS}


def _value(metric: str, sample: Sample) -> float | None:
    return next(iter(BY_ID[metric].values(sample)), None)


def as_csv(columns: Iterable[str], rows: Iterable[Row]) -> Iterator[str]:
    """Piece by piece; absent is empty."""
    names, text = list(columns), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(_cells(row[name] for name in names))
        if text.tell() > PIECE:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def as_jsonl(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _cells(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield "" if value is None else repr(value) if isinstance(value, float) else str(value)
