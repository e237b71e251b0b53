"""What charts are drawn from: of the request log where there is one, else the percentiles of the result. Bounded, whatever the run's size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenmark_decisions.saturation import load_of
from tokenmark_schemas.result import RunResult, StageResult

from ...storage.request_log import read_rows

POINTS, BINS, MOMENTS = 160, 60, 240
METRICS = ("ttft", "tpot", "e2e")
FIXED = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999))
NS = 1e9
Row = tuple[float, float, float, float]  # sent, TTFT (NaN of a call), TPOT (NaN of one token), E2E: seconds


def curves_of(result: RunResult, log: Path | None) -> list[dict[str, Any]]:
    """A stage each: percentile curves, histograms and what happened when."""
    rows = _by_stage(log, result) if log is not None and log.is_file() else {}
    sent = [row[0] for found in rows.values() for row in found]
    began, width = min(sent, default=0.0), (max(sent, default=0.0) - min(sent, default=0.0)) / MOMENTS or 1.0
    return [
        {"name": stage.name, "load": load_of(stage), **_stage(stage, rows.get(stage.name, []), began, width)}
        for stage in result.stages
    ]


def _by_stage(log: Path, result: RunResult) -> Mapping[str, list[Row]]:
    """Rows by stage, without those of a repetition that another took the place of. A log that cannot be read leaves the percentiles."""
    found: dict[str, list[Row]] = {}
    replaced = {(each.stage, each.repetition - 1) for each in result.run.reruns}
    try:
        for row in read_rows(log):
            content, sent = row.get("content_ns"), row.get("sent_ns")
            if (
                row.get("error") is not None
                or not content
                or sent is None
                or (row["stage"], row.get("repetition")) in replaced
            ):
                continue
            tokens = row.get("output_tokens") or 0
            tpot = (content[-1] - content[0]) / (tokens - 1) / NS if tokens > 1 else math.nan
            ttft = math.nan if "operation" in row else (content[0] - sent) / NS  # a call has no first token
            found.setdefault(row["stage"], []).append((sent / NS, ttft, tpot, (content[-1] - sent) / NS))
    except (OSError, ValueError, KeyError):
        return {}
    return found


def _stage(stage: StageResult, rows: Sequence[Row], began: float, width: float) -> dict[str, Any]:
    columns = {
        name: sorted(row[k] for row in rows if not math.isnan(row[k])) for k, name in enumerate(METRICS, start=1)
    }
    return {
        "calls": stage.operations is not None,
        "percentiles": {name: _curve(values) if values else _fixed(stage, name) for name, values in columns.items()},
        "histograms": {name: _histogram(values) for name, values in columns.items() if values},
        "moments": _moments(rows, began, width),
    }


def _curve(ordered: Sequence[float]) -> dict[str, list[float]]:
    """Evenly spaced in the number of nines, up to what five samples lie above."""
    most = math.log10(max(2.0, len(ordered) / 5))
    nines = [most * k / (POINTS - 1) for k in range(POINTS)]
    shares = [1 - 10**-n for n in nines]
    return {
        "share": [_short(s) for s in shares],
        "value": [_short(ordered[min(len(ordered) - 1, int(s * len(ordered)))]) for s in shares],
    }


def _fixed(stage: StageResult, name: str) -> dict[str, list[float]]:
    known = [(share, getattr(stage.metrics[name], p)) for p, share in FIXED if name in stage.metrics]
    known = [(share, value) for share, value in known if value is not None]
    return {"share": [share for share, _ in known], "value": [_short(value) for _, value in known]}


def _histogram(ordered: Sequence[float]) -> dict[str, list[float]]:
    """Up to the 99.5th percentile: a tail has no shape that bars could show."""
    low, high = ordered[0], ordered[min(len(ordered) - 1, int(0.995 * len(ordered)))]
    width = (high - low) / BINS or 1e-9
    counts = [0] * BINS
    for value in ordered:
        at = int((value - low) / width)
        if at < BINS:
            counts[at] += 1
        elif value <= high:
            counts[-1] += 1
    return {"at": [_short(low + (k + 0.5) * width) for k in range(BINS)], "count": [float(count) for count in counts]}


def _moments(rows: Sequence[Row], began: float, width: float) -> dict[str, list[float]]:
    """TTFT, or the whole of a call, over the run's own time: median and largest of each moment that had requests."""
    bins: dict[int, list[float]] = {}
    for sent, ttft, _, e2e in rows:
        bins.setdefault(int((sent - began) / width), []).append(e2e if math.isnan(ttft) else ttft)
    kept = sorted(bins.items())
    return {
        "at": [_short((k + 0.5) * width) for k, _ in kept],
        "middle": [_short(sorted(values)[len(values) // 2]) for _, values in kept],
        "most": [_short(max(values)) for _, values in kept],
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
