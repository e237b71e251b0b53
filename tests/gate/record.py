"""`python -m tests.gate.record NAME FOLDER…`: puts the distributions of real runs (their request logs) into recorded.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench_runner.storage.request_log import read_rows

from .replay import RECORDED_FILE, quantiles_of


def main() -> None:
    name, *folders = sys.argv[1:]
    ttft: list[float] = []
    tpot: list[float] = []
    for folder in folders:
        for row in read_rows(Path(folder) / "requests.jsonl.gz"):
            content = row["content_ns"]
            if row["error"] is None and content and (row["output_tokens"] or 0) > 1:
                ttft.append(content[0] - row["sent_ns"])
                tpot.append((content[-1] - content[0]) / (row["output_tokens"] - 1))
    recorded = json.loads(RECORDED_FILE.read_text()) if RECORDED_FILE.exists() else {}
    recorded[name] = {"requests": len(ttft), "ttft": quantiles_of(ttft), "tpot": quantiles_of(tpot)}
    lines = [f"{json.dumps(shape)}: {json.dumps(found)}" for shape, found in sorted(recorded.items())]
    RECORDED_FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
