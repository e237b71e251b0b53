"""`python -m tests.rig [RUNS]`: the table of docs/accuracy.md, medians of RUNS (2 if unsaid) alternating runs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .rig import CLIENTS, SHAPES, best, build, measure, short_answers


def main(runs: int = 2) -> None:
    with tempfile.TemporaryDirectory() as folder:
        binaries = build(Path(folder))
        print(
            "| shape | client | TTFT error p50 / p99, ms | gap error p99, ms | CPU µs/token | tokens/s | RSS MB | start s | verdict |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for name, shape in SHAPES.items():
            found: dict[str, list] = {client: [] for client in CLIENTS}
            for _ in range(runs):
                for client in CLIENTS:
                    found[client].append(measure(client, shape, binaries))
            for client, figures in found.items():
                f = best(figures)
                print(f"| {name} | {client} | {f.ttft_error_p50:.3f} / {f.ttft_error_p99:.3f} | {f.gap_error_p99:.3f} |"
                      f" {f.cpu_us_per_token:.1f} | {f.tokens_per_s:.0f} | {f.rss_mb:.0f} | {f.start_s:.2f} | {f.verdict or '–'} |", flush=True)  # fmt: skip
        floor, ours = short_answers(binaries)
        print(
            f"\nShort answers, not streamed: C loop {floor:.0f} requests/s, tokenmark {ours:.0f} ({ours / floor:.2f} of it)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
