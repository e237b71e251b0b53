"""What a runner leaves in its pod: frames in the log, and a summary of at most 4096 bytes as termination message.

The log is the main road: the operator follows it from the start. The message is the safety net; the kubelet would keep
its last 4096 bytes, so it is cut here, by leaving stages out until it fits.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import TextIO

from tokenmark_schemas.base import Contract
from tokenmark_schemas.frames import MAX_BLOCK_BYTES, frame, progress_line
from tokenmark_schemas.result import StageResult, TerminationStage, TerminationSummary

TERMINATION_BYTES = 4096


def compressed(document: Contract) -> bytes:
    """The bytes of a result, or what else a pod tells, as they travel: JSON, gzip, the same for the same document."""
    return gzip.compress(json.dumps(document.snake()).encode(), compresslevel=9, mtime=0)


def write_frames(name: str, payload: bytes, out: TextIO | None = None) -> None:
    out = out or sys.stdout
    out.write("".join(line + "\n" for line in frame(name, payload)))
    out.flush()


def write_progress(facts: dict[str, object], out: TextIO | None = None) -> None:
    out = out or sys.stdout
    out.write(progress_line(facts) + "\n")
    out.flush()


def write_requests(path: Path) -> str | None:
    """Frames the request log; returns why not, when it is too large for a log."""
    if not path.exists():
        return None
    size = path.stat().st_size
    if size > MAX_BLOCK_BYTES:
        return f"the request log of {size} bytes is above {MAX_BLOCK_BYTES} and stays out; use an object store sink"
    write_frames("requests", path.read_bytes())
    return None


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def termination_stage(stage: StageResult) -> TerminationStage:
    rate = stage.throughput.output_tokens_per_s
    return TerminationStage(
        stage=stage.name,
        requests=stage.requests.succeeded,
        failed=stage.requests.failed,
        ttft_p50_us=_us(stage.metrics["ttft"].p50),
        ttft_p99_us=_us(stage.metrics["ttft"].p99),
        tpot_p50_us=_us(stage.metrics["tpot"].p50),
        output_tokens_per_s_milli=None if rate is None else round(rate * 1000),
    )


def termination_text(summary: TerminationSummary) -> str:
    """JSON of at most 4096 bytes: a long message is cut, then stages are left out from the end."""
    message = summary.message.encode()[:1500].decode("utf-8", "ignore")
    stages = list(summary.stages)
    while True:
        text = summary.model_copy(update={"message": message, "stages": stages}).model_dump_json(exclude_none=True)
        if len(text.encode()) <= TERMINATION_BYTES or not stages:
            return text
        stages.pop()


def write_termination(path: Path, summary: TerminationSummary) -> None:
    """Best effort: the log carries the same facts."""
    try:
        path.write_text(termination_text(summary))
    except OSError as exc:
        print(f"tokenmark: the termination message could not be written: {exc.strerror}", file=sys.stderr)
